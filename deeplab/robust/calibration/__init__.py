"""Calibration: errors of probabilities and intervals, proper scores, and maps that calibrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.calibration.binned import (
        Bins,
        Reliability,
        calibration_interval,
        classwise_calibration_error,
        debiased_calibration_error,
        expected_calibration_error,
        reliability,
    )
    from deeplab.robust.calibration.intervals import coverage, mean_width, pinball, quantile_calibration_error
    from deeplab.robust.calibration.monotone import (
        Beta,
        Histogram,
        Isotonic,
        Map,
        OneVsRest,
        beta,
        histogram,
        isotonic,
        one_vs_rest,
    )
    from deeplab.robust.calibration.scaling import (
        VectorScaling,
        cross_fitted,
        softmax,
        summary,
        temperature,
        vector_scaling,
    )
    from deeplab.robust.calibration.scores import BrierParts, brier, brier_parts, negative_log_likelihood

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Beta": "monotone:Beta",
        "beta": "monotone:beta",
        "Bins": "binned:Bins",
        "brier": "scores:brier",
        "brier_parts": "scores:brier_parts",
        "BrierParts": "scores:BrierParts",
        "calibration_interval": "binned:calibration_interval",
        "classwise_calibration_error": "binned:classwise_calibration_error",
        "coverage": "intervals:coverage",
        "cross_fitted": "scaling:cross_fitted",
        "debiased_calibration_error": "binned:debiased_calibration_error",
        "expected_calibration_error": "binned:expected_calibration_error",
        "Histogram": "monotone:Histogram",
        "histogram": "monotone:histogram",
        "Isotonic": "monotone:Isotonic",
        "isotonic": "monotone:isotonic",
        "Map": "monotone:Map",
        "mean_width": "intervals:mean_width",
        "negative_log_likelihood": "scores:negative_log_likelihood",
        "one_vs_rest": "monotone:one_vs_rest",
        "OneVsRest": "monotone:OneVsRest",
        "pinball": "intervals:pinball",
        "quantile_calibration_error": "intervals:quantile_calibration_error",
        "Reliability": "binned:Reliability",
        "reliability": "binned:reliability",
        "softmax": "scaling:softmax",
        "summary": "scaling:summary",
        "temperature": "scaling:temperature",
        "vector_scaling": "scaling:vector_scaling",
        "VectorScaling": "scaling:VectorScaling",
    },
)
