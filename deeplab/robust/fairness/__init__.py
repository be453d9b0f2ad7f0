"""Groups compared: metrics and gaps with intervals, and decisions that treat groups alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.fairness.metrics import (
        GroupMetrics,
        accuracy_gap,
        calibration_within,
        demographic_parity,
        equalized_odds,
        gaps,
        group_metrics,
    )
    from deeplab.robust.fairness.thresholds import GroupThresholds, equalizing_thresholds

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "accuracy_gap": "metrics:accuracy_gap",
        "calibration_within": "metrics:calibration_within",
        "demographic_parity": "metrics:demographic_parity",
        "equalized_odds": "metrics:equalized_odds",
        "equalizing_thresholds": "thresholds:equalizing_thresholds",
        "gaps": "metrics:gaps",
        "group_metrics": "metrics:group_metrics",
        "GroupMetrics": "metrics:GroupMetrics",
        "GroupThresholds": "thresholds:GroupThresholds",
    },
)
