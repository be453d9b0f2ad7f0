"""Metrics of predicted numbers that merge by addition."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core.errors import UserError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class R2:
    """Coefficient of determination, 1 - sum w (y - f)^2 / sum w (y - mean y)^2; of several targets, their mean.

    The sums are of y - c with a constant c, which the value does not depend on: a c near the mean keeps the digits of
    targets that are far from 0 in units of their spread. NaN where the target is constant.

    Attributes:
      count: Sum of the weights.
      total: Weighted sum of y - c, [T].
      square: Weighted sum of (y - c)^2, [T].
      residual: Weighted sum of (y - f)^2, [T].

    Example:
      >>> half = R2.of(jnp.array([1.0, 2.5]), jnp.array([1.0, 2.0]))
      >>> (half + R2.of(jnp.array([3.0]), jnp.array([3.0]))).compute()
      0.875
    """

    count: Any
    total: Any
    square: Any
    residual: Any

    @classmethod
    def of(
        cls,
        prediction: Float[Array, "B ..."],
        target: Float[Array, "B ..."],
        weight: Float[Array, " B"] | None = None,
        center: float | jax.Array = 0.0,
    ) -> R2:
        """R2 of a batch. Examples of weight 0 are ignored, even if they are NaN.

        Args:
          prediction: Predictions f.
          target: Targets y, of the same shape.
          weight: Weights w; 1 when None.
          center: Constant c, the same for all batches.

        Raises:
          UserError: The shapes differ; [B, 1] and [B] would broadcast to [B, B].
        """
        same_shape(prediction, target)
        weight = jnp.ones(len(target)) if weight is None else weight
        y, error = (x.reshape(len(x), math.prod(x.shape[1:])) for x in (target - center, target - prediction))  # [B, T]
        w = weight[:, None]
        sums = (jnp.sum(jnp.where(w > 0, w * x, 0), axis=0) for x in (y, y**2, error**2))
        return cls(jnp.sum(weight), *sums)

    def __add__(self, other: R2) -> R2:
        return jax.tree.map(lambda a, b: a + b, self, other)

    def compute(self) -> float:
        """The value; NaN when nothing was counted, or where a target is constant."""
        count, total, square, residual = (np.asarray(x, np.float64) for x in dataclasses.astuple(self))
        if not count:
            return float("nan")
        spread = square - total**2 / count
        held = spread > 1e-6 * square  # less is the rounding of the sums
        return float(np.mean(1 - residual / np.where(held, spread, np.nan)))


def same_shape(prediction: jax.Array, target: jax.Array) -> None:
    """Raises UserError unless predictions and targets have the same shape."""
    if prediction.shape != target.shape:
        raise UserError(
            f"predictions are {list(prediction.shape)} and targets {list(target.shape)}, expected the same shape: one "
            "would broadcast against the other"
        )
