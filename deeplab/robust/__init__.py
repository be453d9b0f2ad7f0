"""Reliability of predictions: attacks, certificates, corruptions, training for all of them, and calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust import attacks, calibration, certify, corruptions, training

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "attacks": "attacks",
        "calibration": "calibration",
        "certify": "certify",
        "corruptions": "corruptions",
        "training": "training",
    },
)
