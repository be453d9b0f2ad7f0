"""Calibration of regressions: coverage and width of intervals, and errors of quantiles.

N examples, Q levels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core.errors import UserError
from deeplab.robust.inputs import numbers_of


def coverage(low: Float[ndarray, " N"], high: Float[ndarray, " N"], target: Float[ndarray, " N"]) -> float:
    """The share of targets within their intervals, ends included (PICP). NaN without examples, or with a NaN.

    Raises:
      UserError: an argument is not [N].

    Source: Khosravi et al. 2011, https://doi.org/10.1109/TNN.2010.2096824.

    Example:
      >>> coverage(np.zeros(4), np.ones(4), np.array([0.0, 0.5, 1.0, 2.0]))
      0.75
    """
    low, high, target = numbers_of(low=low, high=high, target=target)
    within = (low <= target) & (target <= high)
    missing = np.isnan(low) | np.isnan(high) | np.isnan(target)  # their sum is NaN of ends at -inf and inf, too
    return float(np.mean(np.where(missing, np.nan, within))) if len(target) else float("nan")


def mean_width(low: Float[ndarray, " N"], high: Float[ndarray, " N"]) -> float:
    """The mean width of intervals, in the target's unit (MPIW); 0 of one whose ends are crossed, which holds nothing.

    NaN without examples.

    Raises:
      UserError: an argument is not [N].

    Source: Khosravi et al. 2011, https://doi.org/10.1109/TNN.2010.2096824.

    Example:
      >>> mean_width(np.array([0.0, 1.0]), np.array([1.0, 4.0]))
      2.0
    """
    low, high = numbers_of(low=low, high=high)
    return float(np.mean(np.maximum(high - low, 0))) if len(low) else float("nan")


def pinball(
    quantiles: Float[ndarray, "N Q"], target: Float[ndarray, " N"], levels: Float[ndarray, " Q"]
) -> Float[ndarray, " Q"]:
    """The mean of max(t (y - q), (t - 1) (y - q)) at each level t: the true quantile minimizes it.

    Raises:
      UserError: the shapes differ, or a level is not within 0 and 1.

    Source: Koenker and Bassett 1978, https://doi.org/10.2307/1913643.

    Example:
      >>> pinball(np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([0.0, 2.0]), np.array([0.5, 0.9])).tolist()
      [0.5, 0.5]
    """
    q, y, t = _shapes(quantiles, target, levels)
    apart = y[:, None] - q
    return np.mean(np.maximum(t[None] * apart, (t[None] - 1) * apart), axis=0)


def quantile_calibration_error(
    quantiles: Float[ndarray, "N Q"], target: Float[ndarray, " N"], levels: Float[ndarray, " Q"]
) -> float:
    """The mean over levels t of |share of targets at or below the predicted quantile - t|. NaN with a NaN.

    Raises:
      UserError: the shapes differ, or a level is not within 0 and 1.

    Source: Kuleshov, Fenner and Ermon 2018, https://arxiv.org/abs/1807.00263, section 3.5.

    Example:
      >>> round(quantile_calibration_error(np.zeros((4, 1)), np.array([-1.0, 1.0, 2.0, 3.0]), np.array([0.5])), 2)
      0.25
    """
    q, y, t = _shapes(quantiles, target, levels)
    below = np.where(np.isnan(q) | np.isnan(y[:, None]), np.nan, y[:, None] <= q)
    return float(np.mean(np.abs(np.mean(below, axis=0) - t)))


def _shapes(quantiles: ndarray, target: ndarray, levels: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    q, y, t = (np.asarray(x, np.float64) for x in (quantiles, target, levels))
    if q.shape != (*y.shape, *t.shape) or q.ndim != 2 or not len(q):
        raise UserError(
            f"quantiles {list(q.shape)} of targets {list(y.shape)} at levels {list(t.shape)}; expected [N, Q], [N], [Q]"
        )
    if not ((t > 0) & (t < 1)).all():
        raise UserError(f"levels are {t.tolist()}, expected numbers above 0 and below 1")
    return q, y, t
