"""Intervals of a mean over seeds or folds, by Student's t.

Source: Student 1908, https://doi.org/10.1093/biomet/6.1.1; of folds, whose training sets overlap: Nadeau and Bengio
  2003, https://doi.org/10.1023/A:1024068626366.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""Confidence level of all intervals."""


class Interval(NamedTuple):
    """A mean and its interval.

    Attributes:
      mean: Mean of the values; NaN where one of them is not finite.
      error: Standard error of the mean; None for a single value, and where the mean is not finite.
      low, high: Ends of the interval; None like the error.
      n: Number of values.
    """

    mean: float
    error: float | None
    low: float | None
    high: float | None
    n: int

    @property
    def tells(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def interval(values: Sequence[float], overlap: float = 0.0) -> Interval:
    """The mean of N values, m ± t(N - 1) s sqrt(1/N + overlap), where s is their sample standard deviation.

    Args:
      values: Values, one a seed or a fold.
      overlap: Number of test examples divided by that of training examples, where the values are of folds: their
        training sets share examples, and 1/N alone makes intervals that are too narrow (Nadeau and Bengio). 0 for
        values that are independent, such as those of seeds.

    Example:
      >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0])]
      [2.0, 0.577, -0.484, 4.484, 3]
      >>> interval([1.0])
      Interval(mean=1.0, error=None, low=None, high=None, n=1)
    """
    from scipy import stats

    x = np.asarray(values, np.float64)
    if not np.all(np.isfinite(x)):
        return Interval(math.nan, None, None, None, len(x))
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, None, None, None, len(x))
    error = float(np.std(x, ddof=1)) * math.sqrt(1 / len(x) + overlap)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(x) - 1)) * error
    return Interval(mean, error, mean - half, mean + half, len(x))


def paired(first: Mapping[str, float], second: Mapping[str, float], overlap: float = 0.0) -> Interval:
    """The mean difference second - first over the seeds or folds that both have.

    Args:
      first, second: Values by seed or fold.
      overlap: As for `interval`.

    Example:
      >>> found = paired({"0": 1.0, "1": 2.0, "2": 3.0}, {"0": 1.5, "1": 2.6, "2": 3.4, "3": 9.0})
      >>> round(found.mean, 3), found.n, found.tells
      (0.5, 3, True)
    """
    return interval([second[key] - first[key] for key in first if key in second], overlap)
