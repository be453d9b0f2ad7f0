"""Reliability of predictions: attacks, calibration, corruptions, and training for predictions that hold."""

from deeplab.robust import attacks, calibration, corruptions, training

__all__ = ["attacks", "calibration", "corruptions", "training"]
