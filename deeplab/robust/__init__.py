"""How far a prediction may be trusted: calibration."""

from deeplab.robust import calibration

__all__ = ["calibration"]
