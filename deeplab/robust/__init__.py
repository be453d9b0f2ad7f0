"""How far a prediction can be trusted: one room for each way to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust import (
        attacks,
        calibration,
        certify,
        conformal,
        corruptions,
        fairness,
        head,
        inputs,
        resampling,
        shift,
        training,
        uncertainty,
    )

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "attacks": "attacks",
        "calibration": "calibration",
        "certify": "certify",
        "conformal": "conformal",
        "corruptions": "corruptions",
        "fairness": "fairness",
        "head": "head",
        "inputs": "inputs",
        "resampling": "resampling",
        "shift": "shift",
        "training": "training",
        "uncertainty": "uncertainty",
    },
)
