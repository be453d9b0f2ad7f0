"""Examples or groups of them by lot: bootstrap intervals of any statistic of arrays, and folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.inputs import groups_of

Kind = Literal["percentile", "basic"]
LEVEL = ranges.Range(above=0, below=1)


class Interval(NamedTuple):
    """A statistic and its confidence interval; the bounds are NaN where no resample has a value.

    Example:
      >>> interval_of(2.0, np.array([np.nan, np.nan]))
      Interval(value=2.0, low=nan, high=nan)
    """

    value: float
    low: float
    high: float


@ranges.checked(folds=ranges.COUNT)
def dealt(size: int, group: Shaped[ndarray, " N"] | None, folds: int, seed: int = 0) -> Int[ndarray, " N"]:
    """The fold of each example, 0 to folds - 1: groups are dealt out by lot, each to one fold.

    Dealt in turn, the folds of examples in an order, such as that of their classes, would not be exchangeable. Folds
    differ by one group at most. Only the groups and the seed decide, not the order of the examples of named groups.

    Args:
      size: Number N of examples.
      group: Group of each example, which is within one fold; each example is a group when None.
      folds: Number of folds.
      seed: Seed of the lot.

    Raises:
      UserError: there is not a group for each example.

    Example:
      >>> np.bincount(dealt(12, None, folds=3)).tolist(), np.ptp(dealt(4, np.ones(4), folds=3)).item()
      ([4, 4, 4], 0)
    """
    _, member = np.unique(np.arange(size) if group is None else groups_of(group, size), return_inverse=True)
    lot = np.random.default_rng(seed).permutation(member.max(initial=-1) + 1)
    return lot[member] % folds


@ranges.checked(resamples=ranges.COUNT)
def resampled(
    statistic: Callable[..., Any],
    arrays: Sequence[ndarray],
    group: Shaped[ndarray, " N"] | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> Float[ndarray, "R ..."]:
    """A statistic, a number or an array, of resamples with replacement of examples or of groups.

    Args:
      statistic: Function of the arrays, all indexed by the same examples.
      arrays: Arrays with the axis of examples first.
      group: Group of each example that is drawn as a whole; each example is a group when None.
      resamples: Number R of resamples.
      seed: Seed of the resamples.

    Raises:
      UserError: the arrays, or the groups, are not of one length.

    Example:
      >>> resampled(lambda x: x.min(), [np.ones(5)], resamples=3).tolist()
      [1.0, 1.0, 1.0]
    """
    arrays = [np.asarray(x) for x in arrays]
    size, rng, values = len(arrays[0]), np.random.default_rng(seed), []
    if len(lengths := {len(x) for x in (*arrays, *([] if group is None else [group]))}) > 1:
        raise UserError(f"arrays and groups have the lengths {sorted(lengths)}; give one row for each example")
    _, member = np.unique(np.arange(size) if group is None else group, return_inverse=True)
    parts = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    for _ in range(resamples):
        drawn = rng.integers(0, len(parts), len(parts))
        rows = drawn if group is None else np.concatenate([parts[g] for g in drawn])
        values.append(statistic(*(x[rows] for x in arrays)))
    return np.array(values, np.float64)


@ranges.checked(kind=ranges.OneOf(Kind), level=LEVEL)
def interval_of(value: float, values: Float[ndarray, " R"], kind: Kind = "percentile", level: float = 0.95) -> Interval:
    """The interval of a statistic from its values on resamples, of which those that are not finite are ignored.

    Args:
      value: Statistic.
      values: Its values on resamples.
      kind: Kind of the interval. "percentile" takes quantiles q of the resamples; "basic" takes 2 value - q, which
        is right for a statistic that is biased upward, since resamples add the same bias again.
      level: Confidence level.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552.

    Example:
      >>> interval_of(1.0, np.array([1.0, 2.0, 3.0]), "basic", level=0.5)
      Interval(value=1.0, low=-0.5, high=0.5)
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    low, high = (2 * value - high, 2 * value - low) if kind == "basic" else (low, high)
    return Interval(float(value), float(low), float(high))


@ranges.checked(resamples=ranges.COUNT, level=LEVEL)
def bootstrap(
    statistic: Callable[..., float],
    arrays: Sequence[ndarray],
    group: Shaped[ndarray, " N"] | None = None,
    *,
    kind: Kind = "percentile",
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic of arrays [N, ...], with its bootstrap interval.

    Args:
      statistic: Function of the arrays, all indexed by the same examples; where it is NaN, a resample is ignored.
      arrays: Arrays with the axis of examples first.
      group: Group of each example, such as its patient, that is drawn as a whole; each example is a group when None.
      kind: Kind of the interval, see `interval_of`.
      resamples: Number of resamples.
      level: Confidence level.
      seed: Seed of the resamples.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552; of groups, Field and Welsh 2007,
    https://doi.org/10.1111/j.1467-9868.2007.00593.x.

    Example:
      >>> found = bootstrap(np.mean, [np.arange(101.0)])
      >>> found.value, bool(40 < found.low < 50 < found.high < 60)
      (50.0, True)
    """
    arrays = [np.asarray(x) for x in arrays]
    if not len(arrays[0]):
        return Interval(float("nan"), float("nan"), float("nan"))
    values = resampled(statistic, arrays, group, resamples, seed)
    return interval_of(float(statistic(*arrays)), values, kind, level)
