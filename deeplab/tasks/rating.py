"""Prediction of the ratings that users give to items."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task
from deeplab.tasks.ranking import best


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

    A batch holds the targets `rating` [B, V], and the model's inputs, of which `known` [B, V] are the user's other
    ratings. The masks `rated` and `given` [B, V] tell which of the two are ratings; in a batch without them, those that
    are not 0. Evaluations clip predictions to the scale; training does not, because a
    clipped error has no gradient.

    Args:
      fields: Names of the batch's fields that the model reads.
      low: Lowest rating of the scale; may be negative, and 0 where the batch holds the masks.
      high: Highest rating of the scale.
      num_best: Number of recommended items in a prediction; all, where there are fewer.

    Example:
      >>> RatingPrediction(low=0.5, num_best=3).high
      5.0
    """

    fields: tuple[str, ...] = ("user", "known", "profile", "films")
    low: float = 1.0
    high: float = 5.0
    num_best: int = 10

    def __post_init__(self) -> None:
        if isinstance(self.low, int | float):  # no tracer
            ranges.Range(above=self.low).check("high", self.high, "RatingPrediction")

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        told, variables = apply(*self.inputs(batch), train=True, key=key)
        squared = Mean.of(_errors(told, batch) ** 2, _weight(batch))
        return Loss(squared, {"rmse": RootMean(squared.total, squared.count)}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        told, _ = apply(*self.inputs(batch))
        error, weight = _errors(jnp.clip(told, self.low, self.high), batch), _weight(batch)
        squared = Mean.of(error**2, weight)
        rmse = RootMean(squared.total, squared.count)
        return {"loss": squared, "rmse": rmse, "mae": Mean.of(jnp.abs(error), weight)}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Clipped predictions `told` [B, V], and the best unrated items `top` and `top_rating` [B, num_best].

        `top` ends with item 0, which is padding, where fewer items are unrated. `loss` [B] is the mean over a user's
        ratings, NaN without any; `num_known` [B] is the number of known ratings.
        """
        raw, _ = apply(*self.inputs(batch))
        told = jnp.clip(raw, self.low, self.high)
        given = _is_rating(batch, "known", "given")
        top = best(raw, ~given & (jnp.arange(raw.shape[1]) > 0)[None], self.num_best)  # item 0 is padding
        squared = jnp.sum(_errors(told, batch) ** 2, axis=1)
        return {
            "told": told,
            "top": top,
            "top_rating": jnp.take_along_axis(told, top, axis=1),
            "num_known": jnp.sum(given, axis=1),
            "loss": squared / jnp.sum(_is_rating(batch, "rating", "rated"), axis=1),
        }

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        """The items, of which each needs an output.

        Raises:
          UserError: The scale holds 0, and the batch no mask.
        """
        if "rated" not in batch and self.low <= 0 <= self.high:
            raise UserError(
                f"ratings are from {self.low:g} to {self.high:g}, and 0 stands for no rating in a batch without a "
                "mask; give the field `rated` [B, V], True where there is a rating (and `given` for `known`)"
            )
        outputs = apply(*self.inputs(batch))[0].shape[-1]
        return {"rating": Labels(outputs, "num_items of the model", needed=batch["rating"].shape[-1])}

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Mean prediction over each user's rated items, or prediction for the items `target`, [B] or a number."""
        if target is not None:
            items = jnp.broadcast_to(jnp.asarray(target), (len(outputs),))
            return jnp.take_along_axis(outputs, items[:, None], axis=1)[:, 0]
        rated = _is_rating(batch, "rating", "rated").astype(jnp.float32)
        return jnp.sum(rated * outputs, axis=1) / jnp.maximum(jnp.sum(rated, axis=1), 1.0)


def _is_rating(batch: Batch, name: str, mask: str) -> jax.Array:
    """Which values of a field are ratings, [B, V]: those of the mask, if the batch holds it, and else those not 0."""
    return batch[mask] != 0 if mask in batch else batch[name] != 0


def _errors(told: jax.Array, batch: Batch) -> jax.Array:
    """Errors of the predictions [B, V], 0 where there is no rating."""
    return jnp.where(_is_rating(batch, "rating", "rated"), told - batch["rating"], 0)


def _weight(batch: Batch) -> jax.Array:
    """Weight of each rating [B, V]: its example's weight, and 0 where there is no rating."""
    return batch["weight"][:, None] * _is_rating(batch, "rating", "rated")
