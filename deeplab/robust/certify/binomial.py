"""Exact bounds of a probability from counts, on the host (Clopper and Pearson 1934)."""

from __future__ import annotations

from typing import Any

import numpy as np

from deeplab.core import ranges
from deeplab.core.errors import UserError

_LEVEL = ranges.Range(above=0, below=1)


@ranges.checked(alpha=_LEVEL)
def lower_bound(successes: Any, trials: Any, alpha: float) -> np.ndarray:
    """A number that the probability is above, at confidence 1 - alpha: the alpha quantile of Beta(k, n - k + 1).

    Args:
      successes: Numbers of successes k, an array or a number.
      trials: Numbers of trials n.
      alpha: Probability that the bound is wrong.

    Raises:
      UserError: alpha is not between 0 and 1, or there are more successes than trials.

    Example:
      >>> round(float(lower_bound(100, 100, 0.001)), 4)  # 0.001^(1 / 100)
      0.9333
    """
    from scipy import special  # a part of what JAX needs, which takes long to import

    k, n = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    if np.any((k < 0) | (k > n)):
        raise UserError(
            f"{np.max(k):g} successes of {np.min(n):g} trials were given; expected 0 to the number of trials"
        )
    return np.where(k == 0, 0.0, special.betaincinv(np.where(k == 0, 1, k), n - k + 1, alpha))


@ranges.checked(level=_LEVEL)
def interval(successes: Any, trials: Any, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers between which the probability is, at a level of confidence.

    Example:
      >>> [round(float(end), 4) for end in interval(4, 100)]
      [0.011, 0.0993]
    """
    k, n = np.asarray(successes), np.asarray(trials)
    half = (1 - level) / 2
    return lower_bound(k, n, half), 1 - lower_bound(n - k, n, half)
