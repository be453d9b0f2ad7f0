"""Prediction of the ratings that users give to items."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.base import Apply, Batch, Loss, Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RootMean:
    """Square root of a weighted mean, such as the RMSE; sums are merged before the root is taken.

    Example:
      >>> (RootMean(8.0, 1.0) + RootMean(0.0, 1.0)).compute()
      2.0
    """

    total: Any
    count: Any

    def __add__(self, other: RootMean) -> RootMean:
        return type(self)(self.total + other.total, self.count + other.count)

    def compute(self) -> float:
        """The value; NaN when nothing was counted."""
        return Mean(self.total, self.count).compute() ** 0.5


@dataclasses.dataclass(frozen=True)
@ranges.checked(num_best=ranges.COUNT)
class RatingPrediction(Task):
    """Mean squared error over ratings, each with the same weight, however many ratings its user has given.

    A batch holds the targets `rating` [B, V], 0 where there is no rating, and the model's inputs, of which `known`
    [B, V] are the user's other ratings. Evaluations clip predictions to the scale; training does not, because a
    clipped error has no gradient.

    Args:
      fields: Names of the batch's fields that the model reads.
      low: Lowest rating of the scale.
      high: Highest rating of the scale.
      num_best: Number of recommended items in a prediction.
    """

    fields: tuple[str, ...] = ("user", "known", "profile", "films")
    low: float = 1.0
    high: float = 5.0
    num_best: int = 10

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        told, variables = apply(*self.inputs(batch), train=True, key=key)
        squared = Mean.of((told - batch["rating"]) ** 2, _weight(batch))
        return Loss(squared, {"rmse": RootMean(squared.total, squared.count)}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        told, _ = apply(*self.inputs(batch))
        error, weight = jnp.clip(told, self.low, self.high) - batch["rating"], _weight(batch)
        squared = Mean.of(error**2, weight)
        rmse = RootMean(squared.total, squared.count)
        return {"loss": squared, "rmse": rmse, "mae": Mean.of(jnp.abs(error), weight)}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Clipped predictions `told` [B, V], and the best unrated items `top` and `top_rating` [B, num_best].

        `loss` [B] is the mean over a user's ratings; `num_known` [B] is the number of known ratings.
        """
        raw, _ = apply(*self.inputs(batch))
        told = jnp.clip(raw, self.low, self.high)
        unrated = (batch["known"] == 0) & (jnp.arange(raw.shape[1]) > 0)[None]  # item 0 is padding
        _, top = jax.lax.top_k(jnp.where(unrated, raw, -jnp.inf), self.num_best)
        rated = (batch["rating"] > 0).astype(jnp.float32)
        squared = jnp.sum(rated * (told - batch["rating"]) ** 2, axis=1)
        return {
            "told": told,
            "top": top,
            "top_rating": jnp.take_along_axis(told, top, axis=1),
            "num_known": jnp.sum(batch["known"] > 0, axis=1),
            "loss": squared / jnp.maximum(jnp.sum(rated, axis=1), 1.0),
        }

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Mean prediction over each user's rated items, or prediction for the items `target`, [B] or a number."""
        if target is not None:
            items = jnp.broadcast_to(jnp.asarray(target), (len(outputs),))
            return jnp.take_along_axis(outputs, items[:, None], axis=1)[:, 0]
        rated = (batch["rating"] > 0).astype(jnp.float32)
        return jnp.sum(rated * outputs, axis=1) / jnp.maximum(jnp.sum(rated, axis=1), 1.0)


def _weight(batch: Batch) -> jax.Array:
    """Weight of each rating [B, V]: its example's weight, and 0 where there is no rating."""
    return batch["weight"][:, None] * (batch["rating"] > 0)
