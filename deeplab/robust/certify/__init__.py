"""Certificates: what a network does for all inputs of a ball, proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.certify import binomial
    from deeplab.robust.certify.balls import ball
    from deeplab.robust.certify.linear import bounds, linear_bounds
    from deeplab.robust.certify.specification import Verified, margins, verified

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ball": "balls:ball",
        "binomial": "binomial",
        "bounds": "linear:bounds",
        "linear_bounds": "linear:linear_bounds",
        "margins": "specification:margins",
        "Verified": "specification:Verified",
        "verified": "specification:verified",
    },
)
