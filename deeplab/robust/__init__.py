"""Reliability of predictions: calibration, corruptions, and training for predictions that hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust import calibration, corruptions, training

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "calibration": "calibration",
        "corruptions": "corruptions",
        "training": "training",
    },
)
