"""Areas under ROC and precision-recall curves, sensitivity at a specificity, and bootstrap intervals, on the host.

Examples have weights. A bootstrap resample only changes the weights, so the scores are sorted once for all resamples.
Equal scores are one threshold. A score that is NaN has no place in the order: with it, a statistic is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from numpy import ndarray


class Curve(NamedTuple):
    """Summed weights at or above each threshold, from the highest threshold on, with a leading 0.

    Attributes:
      true: Summed weights of the positives.
      false: Summed weights of the negatives.

    Example:
      >>> Scores(np.array([0.9, 0.4, 0.4]), np.array([True, True, False])).curve()  # equal scores are one threshold
      Curve(true=array([0., 1., 2.]), false=array([0., 0., 1.]))
    """

    true: Float[ndarray, " M"]
    false: Float[ndarray, " M"]


class Scores:
    """Sorted scores, of which each distinct one is a threshold.

    Args:
      score: Scores; higher means more likely positive.
      positive: Whether each example is positive; of labels that are numbers, those above 0 are.

    Example:
      >>> scores = Scores(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
      >>> auroc(scores.curve()), round(average_precision(scores.curve()), 3)
      (0.75, 0.833)
    """

    def __init__(self, score: Real[ndarray, " N"], positive: Bool[ndarray, " N"] | Real[ndarray, " N"]) -> None:
        # Unsigned integers have no negatives, and ~1 is -2.
        score, positive = np.asarray(score, np.float64), np.asarray(positive) > 0
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.last = np.flatnonzero(ranked != np.append(ranked[1:], np.nan))  # last of each distinct score
        self.undefined = np.isnan(ranked)
        self.positive = positive[self.order]

    def curve(self, weight: Float[ndarray, " N"] | None = None) -> Curve:
        """The curve of the weighted examples. None means weights of 1."""
        weight = np.ones(len(self.order)) if weight is None else weight[self.order]
        weight = np.where(self.undefined & (weight != 0), np.nan, weight)
        true, false = np.cumsum(weight * self.positive), np.cumsum(weight * ~self.positive)
        return Curve(np.append(0.0, true[self.last]), np.append(0.0, false[self.last]))


def auroc(curve: Curve) -> float:
    """Area under the ROC curve, by the trapezoidal rule; NaN without positives or without negatives.

    It is the probability that a positive scores higher than a negative, ties counting half.

    Source: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747.

    Example:
      >>> auroc(Scores(np.array([0.9, 0.4, 0.4]), np.array([True, True, False])).curve())  # a pair in order, and a tie
      0.75
    """
    total = curve.true[-1] * curve.false[-1]
    area = np.sum(np.diff(curve.false) * (curve.true[1:] + curve.true[:-1]) / 2)
    return float(area / total) if total else float("nan")


def average_precision(curve: Curve) -> float:
    """Average precision sum_m (R_m - R_(m-1)) P_m, with recall R and precision P; NaN without positives.

    The trapezoidal rule would be too optimistic (Davis and Goadrich 2006, https://doi.org/10.1145/1143844.1143874).

    Example:
      >>> best_and_worst = np.array([True, False, False, True])
      >>> average_precision(Scores(np.array([4.0, 3.0, 2.0, 1.0]), best_and_worst).curve())  # (1 / 1 + 2 / 4) / 2
      0.75
    """
    if not curve.true[-1]:
        return float("nan")
    counted = (curve.true + curve.false)[1:]
    precision = np.divide(curve.true[1:], counted, out=np.zeros_like(counted), where=counted > 0)
    return float(np.sum(np.diff(curve.true) * precision) / curve.true[-1])


def sensitivity_at(curve: Curve, specificity: float) -> float:
    """The highest sensitivity at a specificity of at least `specificity`; NaN without positives or negatives.

    Example:
      >>> curve = Scores(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])).curve()
      >>> sensitivity_at(curve, 1.0), sensitivity_at(curve, 0.5)
      (0.5, 1.0)
    """
    if not curve.true[-1] * curve.false[-1] > 0:  # which is NaN for NaN scores
        return float("nan")
    allowed = curve.false <= (1 - specificity) * curve.false[-1] * (1 + 1e-12)
    return float(curve.true[allowed][-1] / curve.true[-1])


def bootstrap(
    scores: Scores,
    statistic: Callable[[Curve], float],
    group: Int[ndarray, " N"] | None = None,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic, over resamples of groups with replacement.

    Examples of one group (beats of one patient) are correlated, so that intervals over examples would be too narrow
    (Field and Welsh 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x). Resamples with a NaN are ignored.

    Args:
      scores: Sorted scores.
      statistic: Function of a curve.
      group: Group of each example. None means that each example is a group.
      resamples: Number of resamples.
      level: Confidence level.
      seed: Seed of the resamples.

    Returns:
      The lower and the upper bound, or NaN if a score is NaN or the statistic is, for all resamples.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552.

    Example:
      >>> scores = Scores(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
      >>> low, high = bootstrap(scores, auroc)
      >>> low < auroc(scores.curve()) < high
      True
      >>> bootstrap(scores, auroc, group=np.zeros(4, int))  # one patient's beats tell nothing of other patients
      (0.75, 0.75)
    """
    rng = np.random.default_rng(seed)
    if not len(scores.order) or scores.undefined.any():
        return float("nan"), float("nan")
    _, member = np.unique(np.arange(len(scores.order)) if group is None else group, return_inverse=True)
    num_groups = int(member.max()) + 1
    values = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, num_groups, num_groups), minlength=num_groups)
        values.append(statistic(scores.curve(times[member].astype(np.float64))))
    values = np.array(values)[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
