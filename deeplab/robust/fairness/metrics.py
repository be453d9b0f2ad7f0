"""Metrics by group, and the gaps between groups, with bootstrap intervals.

Groups are whatever a column says: patients, sexes, speakers, users. Decisions and labels are of one class; of several
classes, pass `label == k` and `prediction == k`. N examples, G groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.calibration.binned import debiased_calibration_error
from deeplab.robust.inputs import numbers_of
from deeplab.robust.resampling import LEVEL, Interval, interval_of, resampled


class GroupMetrics(NamedTuple):
    """Metrics of each group; NaN where a group has no example of the kind.

    Attributes:
      groups: Groups, ascending.
      count: Number of examples.
      accuracy: Share of right decisions.
      positive_rate: Share of positive decisions.
      true_positive_rate: Share of positive decisions among the positives.
      false_positive_rate: Share of positive decisions among the negatives.

    Example:
      >>> rates = np.array([[0.9, 0.6], [0.5, 0.2], [0.9, 0.4], [0.1, 0.1]])
      >>> found = GroupMetrics(np.array(["a", "b"]), np.array([9, 3]), *rates)
      >>> round(float(np.ptp(found.positive_rate)), 2)  # the gap of demographic parity
      0.3
    """

    groups: Shaped[ndarray, " G"]
    count: Int[ndarray, " G"]
    accuracy: Float[ndarray, " G"]
    positive_rate: Float[ndarray, " G"]
    true_positive_rate: Float[ndarray, " G"]
    false_positive_rate: Float[ndarray, " G"]


def group_metrics(
    label: Bool[ndarray, " N"], prediction: Bool[ndarray, " N"], group: Shaped[ndarray, " N"]
) -> GroupMetrics:
    """Metrics of each group.

    Raises:
      UserError: the arrays differ in length, are empty, or hold other values than 0 and 1.

    Example:
      >>> found = group_metrics(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), np.array(["a", "a", "b", "b"]))
      >>> found.accuracy.tolist(), found.true_positive_rate.tolist()
      ([1.0, 0.0], [1.0, 0.0])
    """
    y, decided, groups, member = _checked(label, prediction, group)
    return GroupMetrics(groups, np.bincount(member), *_rates(y, decided, member, len(groups)))


def _checked(label: ndarray, prediction: ndarray, group: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    y, decided, group = np.asarray(label), np.asarray(prediction), np.asarray(group)
    if not y.shape == decided.shape == group.shape or y.ndim != 1 or not len(y):
        shapes = [list(x.shape) for x in (y, decided, group)]
        raise UserError("label {}, prediction {} and group {}; expected [N] of each".format(*shapes))
    for name, x in (("label", y), ("prediction", decided)):
        if not np.isin(x, (0, 1)).all():
            raise UserError(f"{name} holds {x[~np.isin(x, (0, 1))][0]}, expected 0 and 1; pass {name} == k for class k")
    groups, member = np.unique(group, return_inverse=True)
    return y.astype(bool), decided.astype(bool), groups, member


def _several(label: ndarray, prediction: ndarray, group: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    found = _checked(label, prediction, group)
    if len(found[2]) < 2:
        raise UserError(f"all examples are of the group {found[2][0]}, and a gap is between groups; give two or more")
    return found


def _rates(y: ndarray, decided: ndarray, member: ndarray, groups: int) -> ndarray:
    """Accuracy, positive rate, true and false positive rate, [4, G]."""

    def share(of: ndarray, among: ndarray) -> ndarray:
        total = np.bincount(member[among], minlength=groups)
        return np.bincount(member[among], of[among], groups) / np.where(total > 0, total, np.nan)

    everyone = np.ones(len(y), bool)
    return np.stack([share(y == decided, everyone), *(share(decided, among) for among in (everyone, y, ~y))])


def accuracy_gap(label: ndarray, prediction: ndarray, group: ndarray) -> float:
    """The largest accuracy of a group minus the smallest.

    Raises:
      UserError: there is one group, or as `group_metrics`.

    Example:
      >>> accuracy_gap(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), np.array([1, 1, 2, 2]))
      0.5
    """
    y, decided, groups, member = _several(label, prediction, group)
    return float(np.ptp(_rates(y, decided, member, len(groups))[0]))


def demographic_parity(prediction: ndarray, group: ndarray) -> float:
    """The largest share of positive decisions in a group minus the smallest.

    Raises:
      UserError: there is one group, or as `group_metrics`.

    Source: Dwork et al. 2012, https://arxiv.org/abs/1104.3913.

    Example:
      >>> demographic_parity(np.array([1, 1, 1, 0]), np.array([1, 1, 2, 2]))
      0.5
    """
    return accuracy_gap(np.ones_like(prediction, int), prediction, group)  # right are the positive ones


def equalized_odds(label: ndarray, prediction: ndarray, group: ndarray) -> float:
    """The larger of the gaps of the true and of the false positive rate.

    Raises:
      UserError: a group has no positives or no negatives, or there is one group.

    Source: Hardt, Price and Srebro 2016, https://arxiv.org/abs/1610.02413.

    Example:
      >>> equalized_odds(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), np.array([1, 1, 2, 2]))
      1.0
    """
    y, decided, groups, member = _several(label, prediction, group)
    found = _rates(y, decided, member, len(groups))
    _refuse_undefined(found, groups)
    return float(np.ptp(found[2:], axis=1).max())


def _refuse_undefined(rates: ndarray, groups: ndarray) -> None:
    for name, each in (("positives", rates[2]), ("negatives", rates[3])):
        if np.isnan(each).any():
            first = groups[np.isnan(each)][0]
            raise UserError(f"group {first} has no {name}, and no rate of them; merge it with another, or leave it out")


def calibration_within(
    label: Bool[ndarray, " N"], probability: Float[ndarray, " N"], group: Shaped[ndarray, " N"], num_bins: int = 10
) -> dict[str, float]:
    """The debiased calibration error of the probabilities within each group, by its name.

    Args:
      label: Whether each example is positive.
      probability: Probability that it is.
      group: Group of each example.
      num_bins: Number of bins; of equal mass, since groups may be small.

    Raises:
      UserError: the arrays differ in length, are empty, or hold other values than 0 and 1, or than probabilities.

    Source: Kleinberg, Mullainathan and Raghavan 2017, https://arxiv.org/abs/1609.05807, who show that this, and equal
    odds, are together possible only of perfect predictions or equal base rates.

    Example:
      >>> group = np.repeat(["a", "b"], 100)
      >>> found = calibration_within(np.tile([0, 1], 100), np.where(group == "a", 0.5, 0.8), group)
      >>> {name: round(error, 2) for name, error in found.items()}
      {'a': -0.04, 'b': 0.3}
    """
    y, _, groups, member = _checked(label, np.zeros(len(label), int), group)
    _, p = numbers_of(label=y, probability=probability)
    return {
        str(name): debiased_calibration_error(p[member == g], y[member == g], num_bins, "mass")
        for g, name in enumerate(groups)
    }


@ranges.checked(resamples=ranges.COUNT, level=LEVEL)
def gaps(
    label: Bool[ndarray, " N"],
    prediction: Bool[ndarray, " N"],
    group: Shaped[ndarray, " N"],
    cluster: Shaped[ndarray, " N"] | None = None,
    *,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """All gaps with their bootstrap intervals.

    A gap of noise alone is above 0, the more so the smaller and the more the groups. The intervals are basic ones, from
    which most of this bias falls out; and an interval starts at 0 where the gap is within those of permuted groups.

    Args:
      label: Whether each example is positive.
      prediction: Decision.
      group: Group of each example.
      cluster: What is drawn as a whole, such as the patient where groups are sexes; each example when None.
      resamples: Number of resamples.
      level: Confidence level.
      seed: Seed of the resamples.

    Raises:
      UserError: a group has no positives or no negatives, or there is one group.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> group, label = rng.integers(0, 2, 1000), rng.integers(0, 2, 1000)
      >>> found = gaps(label, (rng.random(1000) < 0.4 + 0.3 * group).astype(int), group)
      >>> bool(found["demographic_parity"].low > 0.1), round(found["accuracy"].low, 2)
      (True, 0.0)
    """
    y, decided, groups, member = _several(label, prediction, group)

    def of_all(y: ndarray, decided: ndarray, member: ndarray) -> ndarray:
        accuracy, positive, *odds = np.ptp(_rates(y, decided, member, len(groups)), axis=1)
        return np.array([accuracy, positive, np.max(odds)])  # NaN without a group, or its positives or negatives

    _refuse_undefined(_rates(y, decided, member, len(groups)), groups)
    values = of_all(y, decided, member)
    draws = resampled(of_all, [y, decided, member], cluster, resamples, seed)
    rng = np.random.default_rng(seed)
    alike = np.array([of_all(y, decided, _permuted(member, cluster, rng)) for _ in range(resamples)])
    found = {}
    names = ("accuracy", "demographic_parity", "equalized_odds")
    for name, value, each, null in zip(names, values, draws.T, alike.T, strict=True):
        _, low, high = interval_of(value, each, "basic", level)
        null = null[np.isfinite(null)]
        low = 0.0 if len(null) and value <= np.quantile(null, (1 + level) / 2) else low
        found[name] = Interval(float(value), float(np.maximum(low, 0)), float(np.maximum(high, 0)))
    return found


def _permuted(member: ndarray, cluster: ndarray | None, rng: np.random.Generator) -> ndarray:
    """The groups of the examples as they might be if no group differed: permuted between clusters of one group each,
    or else within the clusters."""
    if cluster is None:
        return rng.permutation(member)
    _, first, at = np.unique(cluster, return_index=True, return_inverse=True)
    if (member[first][at] == member).all():
        return rng.permutation(member[first])[at]
    made = np.empty_like(member)
    made[np.argsort(at, kind="stable")] = member[np.lexsort((rng.random(len(at)), at))]
    return made
