"""Explanations: what a score is made of, for any function of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.explain.attribution import Attribution, scored
    from deeplab.explain.propagation import deeplift
    from deeplab.explain.taps import edited, mark, read, split, taps

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Attribution": "attribution:Attribution",
        "deeplift": "propagation:deeplift",
        "edited": "taps:edited",
        "mark": "taps:mark",
        "read": "taps:read",
        "scored": "attribution:scored",
        "split": "taps:split",
        "taps": "taps:taps",
    },
)
