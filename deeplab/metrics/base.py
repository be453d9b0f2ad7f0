"""Metrics that merge by addition."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
    """Weighted mean as (total, count), exact over shards, hosts, microbatches and the last, partial batch.

    Attributes:
      total: Weighted sum.
      count: Sum of the weights.

    Example:
      >>> (Mean.of(jnp.ones(3)) + Mean.of(jnp.zeros(1))).compute()
      0.75
    """

    total: Any
    count: Any

    @classmethod
    def of(cls, values: jax.Array, weight: jax.Array | None = None) -> Mean:
        """Mean of `values` with weights of the same shape. Values of weight 0 are ignored, even if they are NaN.

        Their derivative is 0, too. What they were computed from gets 0 times its own derivative, which is NaN where
        that is not finite: a step therefore replaces examples of weight 0 before the model (`train.step.only_counted`).

        Raises:
          UserError: The shapes differ.
        """
        if weight is None:
            weight = jnp.ones(values.shape, jnp.float32)
        if jnp.shape(values) != jnp.shape(weight):
            raise UserError(
                f"values {list(jnp.shape(values))} of a mean have weights {list(jnp.shape(weight))}, expected the same "
                "shape; reduce the values to one for each weight, or broadcast the weights with jnp.broadcast_to"
            )
        return cls(jnp.sum(jnp.where(weight != 0, values * weight, 0)), jnp.sum(weight))

    def __add__(self, other: Mean) -> Mean:
        return type(self)(self.total + other.total, self.count + other.count)

    def compute(self) -> float:
        """The mean, or NaN if the count is 0."""
        return float(self.total) / float(self.count) if float(self.count) else float("nan")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Perplexity:
    """exp of a weighted mean of negative log-likelihoods, in nats per token.

    Attributes:
      total: Weighted sum of negative log-likelihoods.
      count: Sum of the weights.

    Example:
      >>> round(float(Perplexity(total=4.1589, count=3.0).compute()), 2)  # exp(4.1589 / 3)
      4.0
    """

    total: Any
    count: Any

    def __add__(self, other: Perplexity) -> Perplexity:
        return type(self)(self.total + other.total, self.count + other.count)

    def compute(self) -> float:
        """The perplexity, or inf if the exponential overflows."""
        mean = Mean(self.total, self.count).compute()
        with np.errstate(over="ignore"):
            return float(np.exp(np.float64(mean)))


def hits(scores: jax.Array, label: jax.Array) -> jax.Array:
    """Whether the highest score is the label's, [..., K] and [...] -> [...]: 1 or 0, and NaN where a score is NaN.

    The highest of several equal scores is the first.

    Example:
      >>> hits(jnp.array([[0.1, 0.9], [0.1, 0.9], [jnp.nan, 0.9]]), jnp.array([1, 0, 0])).tolist()
      [1.0, 0.0, nan]
    """
    return defined((jnp.argmax(scores, axis=-1) == label).astype(jnp.float32), scores)


def defined(values: jax.Array, scores: jax.Array) -> jax.Array:
    """The values [...], NaN where one of the scores [..., K] is: comparisons and sorting hide a NaN, this shows it.

    Example:
      >>> defined(jnp.array([1.0, 2.0]), jnp.array([[0.0, 1.0], [jnp.nan, 1.0]])).tolist()
      [1.0, nan]
    """
    return jnp.where(jnp.isnan(scores).any(axis=-1), jnp.nan, values)


Metrics = dict[str, Any]
"""Metrics by name. A metric is a pytree with `+`, which merges, and `compute()`, which returns a float.

The arrays of members of a population have a leading axis: a `+` that joins examples counts their axis from the end."""


def in_double(metrics: Any) -> Any:
    """Metrics on the host in double precision, of the shape that they have.

    `np.float64(x)` gives an array of one number no shape, in NumPy before 2.2: a member without an axis of members.

    Example:
      >>> in_double(Mean(np.ones(1, np.float32), np.float32(2)))
      Mean(total=array([1.]), count=np.float64(2.0))
    """
    return jax.tree.map(lambda x: np.asarray(x, np.float64)[()], metrics)
