"""Metrics that merge by addition."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


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
        """Mean of `values` with weights of the same shape. Values of weight 0 are ignored, even if they are NaN."""
        if weight is None:
            weight = jnp.ones(values.shape, jnp.float32)
        return cls(jnp.sum(jnp.where(weight > 0, values * weight, 0)), jnp.sum(weight))

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


Metrics = dict[str, Any]
"""Metrics by name. A metric is a pytree with `+`, which merges, and `compute()`, which returns a float."""
