"""Conformal intervals of regressions: absolute residuals, quantiles (CQR), jackknife+ and CV+.

N calibration examples, M new ones, F models.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.conformal.split import LEVEL, rank_of, threshold
from deeplab.robust.inputs import matrix_of, numbers_of


class Intervals(NamedTuple):
    """Intervals of the targets of new examples, in their unit.

    Example:
      >>> interval = Intervals(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
      >>> float((interval.high - interval.low).mean())
      1.5
    """

    low: Float[ndarray, " M"]
    high: Float[ndarray, " M"]


def residual_intervals(
    prediction: Float[ndarray, " N"], target: Float[ndarray, " N"], new: Float[ndarray, " M"], alpha: float
) -> Intervals:
    """prediction +- the threshold of |target - prediction|: intervals of one width.

    Args:
      prediction: Predictions of calibration examples.
      target: Their targets.
      new: Predictions of new examples.
      alpha: Largest rate of misses.

    Raises:
      UserError: there are too few calibration examples, one residual is NaN, or an argument is not [N].

    Source: Lei et al. 2018, https://arxiv.org/abs/1604.04173.

    Example:
      >>> residual_intervals(np.zeros(3), np.array([1.0, -2.0, 3.0]), np.array([10.0]), alpha=0.5).high.tolist()
      [12.0]
    """
    prediction, target = numbers_of(prediction=prediction, target=target)
    half, (new,) = threshold(np.abs(target - prediction), alpha), numbers_of(new=new)
    return Intervals(new - half, new + half)


def cqr_scores(low: Float[ndarray, " N"], high: Float[ndarray, " N"], target: Float[ndarray, " N"]) -> ndarray:
    """max(low - y, y - high): how far a target is outside of its interval; negative inside.

    Raises:
      UserError: an argument is not [N].

    Example:
      >>> cqr_scores(np.zeros(2), np.ones(2), np.array([1.5, 0.75])).tolist()
      [0.5, -0.25]
    """
    low, high, target = numbers_of(low=low, high=high, target=target)
    return np.maximum(low - target, target - high)


def quantile_intervals(
    low: Float[ndarray, " N"],
    high: Float[ndarray, " N"],
    target: Float[ndarray, " N"],
    new_low: Float[ndarray, " M"],
    new_high: Float[ndarray, " M"],
    alpha: float,
) -> Intervals:
    """Intervals of two predicted quantiles, wider or narrower by one number (CQR).

    Their width follows the spread of the targets at each input. Where one is narrower by more than it is wide, its ends
    are crossed, and it holds nothing.

    Args:
      low: Lower quantiles of calibration examples.
      high: Upper quantiles of calibration examples.
      target: Targets of calibration examples.
      new_low: Lower quantiles of new examples.
      new_high: Upper quantiles of new examples.
      alpha: Largest rate of misses.

    Raises:
      UserError: there are too few calibration examples, a number is NaN, or an argument is not [N].

    Source: Romano, Patterson and Candès 2019, https://arxiv.org/abs/1905.03222.

    Example:
      >>> y = np.array([0.0, 1.0, 3.0])
      >>> found = quantile_intervals(np.zeros(3), np.ones(3), y, np.array([5.0]), np.array([7.0]), alpha=0.25)
      >>> found.low.tolist(), found.high.tolist()
      ([3.0], [9.0])
    """
    by = threshold(cqr_scores(low, high, target), alpha)
    new_low, new_high = numbers_of(new_low=new_low, new_high=new_high)
    return Intervals(new_low - by, new_high + by)


@ranges.checked(alpha=LEVEL)
def jackknife_plus(
    residual: Float[ndarray, " N"],
    predictions: Float[ndarray, "F M"],
    alpha: float,
    model: Int[ndarray, " N"] | None = None,
) -> Intervals:
    """Intervals from models that have each left out one example (jackknife+), or one fold (CV+).

    All examples train and calibrate. With R_i the residual of example i under the model without it and m_i that model's
    prediction of a new example, the ends are the floor(alpha (N + 1))-th smallest m_i - R_i and the
    ceil((1 - alpha) (N + 1))-th smallest m_i + R_i. The coverage is 1 - 2 alpha or more, and about 1 - alpha mostly.

    Args:
      residual: |target - prediction| of each example, by the model that has left it out.
      predictions: Predictions of the new examples by each model.
      alpha: Rate of misses, half of the largest.
      model: Number of the model that has left out each example; model i has left out example i when None.

    Raises:
      UserError: there are too few examples, not a model for each, a number is NaN, a prediction is infinite, a
        residual is negative, or an argument is of another shape.

    Source: Barber et al. 2021, https://arxiv.org/abs/1905.02928.

    Example:
      >>> found = jackknife_plus(np.array([1.0, 2.0, 3.0]), np.array([[0.0], [0.5], [0.0]]), alpha=0.25)
      >>> found.low.tolist(), found.high.tolist()
      ([-3.0], [3.0])
    """
    (residual,), predictions = numbers_of(residual=residual), matrix_of(predictions, "predictions", "M")
    N = len(residual)
    model = np.arange(N) if model is None else np.asarray(model)
    if model.shape != (N,) or (N and not 0 <= model.min() <= model.max() < len(predictions)):
        raise UserError(
            f"{len(predictions)} models for {N} examples; give predictions [F, M] of F models, and the number of the "
            "model that has left out each example"
        )
    if not (residual >= 0).all() or not np.isfinite(predictions).all():
        raise UserError("a residual is negative or NaN, or a prediction is NaN or infinite; give |target - prediction|")
    lower, upper = math.floor(alpha * (N + 1) + 1e-9) - 1, rank_of(N, alpha) - 1
    each = predictions[model]  # [N, M]
    low, high = np.sort(each - residual[:, None], axis=0), np.sort(each + residual[:, None], axis=0)
    return Intervals(low[lower], high[upper])
