"""Reliability of predictions: calibration."""

from deeplab.robust import calibration

__all__ = ["calibration"]
