"""Reliability of predictions: attacks, calibration."""

from deeplab.robust import attacks, calibration

__all__ = ["attacks", "calibration"]
