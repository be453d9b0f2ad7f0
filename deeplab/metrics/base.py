"""Metrics that merge by addition: exact over shards, hosts, microbatches and the last, partial batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
    """A weighted mean as (total, count): exact over shards, hosts, microbatches and the last, partial batch.

    Example:
      >>> (Mean.of(jnp.ones(3)) + Mean.of(jnp.zeros(1))).compute()
      0.75
    """

    total: Any
    count: Any

    @classmethod
    def of(cls, values: jax.Array, weight: jax.Array | None = None) -> Mean:
        """Of `values`, weighted: same shapes. A value whose weight is 0 does not count, whatever it is (NaN too)."""
        if weight is None:
            weight = jnp.ones(values.shape, jnp.float32)
        return cls(jnp.sum(jnp.where(weight > 0, values * weight, 0)), jnp.sum(weight))

    def __add__(self, other: Mean) -> Mean:
        return type(self)(self.total + other.total, self.count + other.count)

    def compute(self) -> float:
        """The value; NaN when nothing was counted."""
        return float(self.total) / float(self.count) if float(self.count) else float("nan")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Perplexity:
    """exp of a weighted mean of negative log-likelihoods, in nats per token."""

    total: Any
    count: Any

    def __add__(self, other: Perplexity) -> Perplexity:
        return type(self)(self.total + other.total, self.count + other.count)

    def compute(self) -> float:
        """The value; inf where the exponential overflows."""
        mean = Mean(self.total, self.count).compute()
        with np.errstate(over="ignore"):
            return float(np.exp(np.float64(mean)))


Metrics = dict[str, Any]
"""Name to metric: a pytree with `+` that merges and `compute()` that gives a float."""
