"""Guarantees without assumptions on the model: conformal sets and intervals, risk control, selective prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.conformal.classes import aps, lac, raps, set_coverage, true_scores, uniforms
    from deeplab.robust.conformal.coverage import Coverage, coverage_by_group
    from deeplab.robust.conformal.evaluation import cross_sets, summary
    from deeplab.robust.conformal.regression import (
        Intervals,
        cqr_scores,
        jackknife_plus,
        quantile_intervals,
        residual_intervals,
    )
    from deeplab.robust.conformal.risk import (
        RiskCoverage,
        conformal_risk,
        hoeffding_bentkus,
        learn_then_test,
        risk_coverage,
    )
    from deeplab.robust.conformal.split import (
        Thresholds,
        coverage_law,
        mondrian,
        smallest,
        threshold,
        weighted_thresholds,
    )

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "aps": "classes:aps",
        "conformal_risk": "risk:conformal_risk",
        "cross_sets": "evaluation:cross_sets",
        "summary": "evaluation:summary",
        "Coverage": "coverage:Coverage",
        "coverage_by_group": "coverage:coverage_by_group",
        "coverage_law": "split:coverage_law",
        "cqr_scores": "regression:cqr_scores",
        "hoeffding_bentkus": "risk:hoeffding_bentkus",
        "Intervals": "regression:Intervals",
        "jackknife_plus": "regression:jackknife_plus",
        "lac": "classes:lac",
        "learn_then_test": "risk:learn_then_test",
        "mondrian": "split:mondrian",
        "quantile_intervals": "regression:quantile_intervals",
        "raps": "classes:raps",
        "residual_intervals": "regression:residual_intervals",
        "risk_coverage": "risk:risk_coverage",
        "RiskCoverage": "risk:RiskCoverage",
        "set_coverage": "classes:set_coverage",
        "smallest": "split:smallest",
        "threshold": "split:threshold",
        "Thresholds": "split:Thresholds",
        "true_scores": "classes:true_scores",
        "uniforms": "classes:uniforms",
        "weighted_thresholds": "split:weighted_thresholds",
    },
)
