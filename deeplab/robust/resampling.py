"""Bootstrap intervals of any statistic of arrays, over examples or over groups of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from deeplab.core import ranges

Kind = Literal["percentile", "basic"]


class Interval(NamedTuple):
    """A statistic and its confidence interval; the bounds are NaN where no resample has a value."""

    value: float
    low: float
    high: float


@ranges.checked(resamples=ranges.COUNT, level=ranges.Range(above=0, below=1))
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
      kind: Kind of the interval. "percentile" takes quantiles q of the resamples; "basic" takes 2 value - q, which
        is right for a statistic that is biased upward, since resamples add the same bias again.
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
    size = len(arrays[0])
    value = float(statistic(*arrays)) if size else float("nan")
    _, member = np.unique(np.arange(size) if group is None else group, return_inverse=True)
    order = np.argsort(member, kind="stable")
    counts = np.bincount(member)
    parts = np.split(order, np.cumsum(counts)[:-1]) if size else []
    rng, values = np.random.default_rng(seed), []
    for _ in range(resamples if size else 0):
        drawn = rng.integers(0, len(parts), len(parts))
        rows = drawn if group is None else np.concatenate([parts[g] for g in drawn])
        values.append(float(statistic(*(x[rows] for x in arrays))))
    values = np.array(values)[np.isfinite(values)]
    if not len(values):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    if kind == "basic":
        low, high = 2 * value - high, 2 * value - low
    return Interval(value, float(low), float(high))
