"""Certificates: what a network does for all inputs of a ball, proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.certify import binomial
    from deeplab.robust.certify.balls import ball
    from deeplab.robust.certify.curves import Curve, Smoothed, certified_curve
    from deeplab.robust.certify.linear import bounds, linear_bounds
    from deeplab.robust.certify.signs import Signs, certified_signs
    from deeplab.robust.certify.smoothing import smoothed, smoothed_predictions, votes
    from deeplab.robust.certify.specification import Verified, margins, verified

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ball": "balls:ball",
        "binomial": "binomial",
        "bounds": "linear:bounds",
        "certified_curve": "curves:certified_curve",
        "certified_signs": "signs:certified_signs",
        "Curve": "curves:Curve",
        "linear_bounds": "linear:linear_bounds",
        "margins": "specification:margins",
        "Signs": "signs:Signs",
        "Smoothed": "curves:Smoothed",
        "smoothed": "smoothing:smoothed",
        "smoothed_predictions": "smoothing:smoothed_predictions",
        "Verified": "specification:Verified",
        "verified": "specification:verified",
        "votes": "smoothing:votes",
    },
)
