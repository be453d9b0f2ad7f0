"""How far a prediction can be trusted: one room for each way to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust import calibration, conformal, fairness, head, inputs, resampling, shift, uncertainty

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "calibration": "calibration",
        "conformal": "conformal",
        "fairness": "fairness",
        "head": "head",
        "inputs": "inputs",
        "resampling": "resampling",
        "shift": "shift",
        "uncertainty": "uncertainty",
    },
)
