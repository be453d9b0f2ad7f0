"""Reliability of predictions: certificates, training for them, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust import calibration, certify, training

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "calibration": "calibration",
        "certify": "certify",
        "training": "training",
    },
)
