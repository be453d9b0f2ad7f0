"""The contract of tasks: pure functions over `(apply, batch, key)`, and metrics that merge by addition."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

Batch = dict[str, Any]


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


class Apply(Protocol):
    """The model with its parameters bound: `outputs, variables = apply(*inputs, train=True, key=key)`.

    `variables` are the model's other collections (such as `batch_stats`), updated when `train` is True. `method` names
    a method of the model to call instead, for tasks that run a model in parts, as decoding does.
    """

    def __call__(
        self, *inputs: Any, train: bool = False, key: jax.Array | None = None, method: str | None = None
    ) -> tuple[Any, Any]: ...


class Loss(NamedTuple):
    """What `Task.loss` returns.

    Attributes:
      loss: summed loss and summed weight; the step divides once, over all microbatches and devices.
      metrics: further metrics of the training batch, free of charge.
      variables: the model's collections after the call.
    """

    loss: Mean
    metrics: Metrics
    variables: Any


class Task(Protocol):
    """What is asked of a model. Implementations are frozen records that know no model."""

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What the model reads of a batch."""
        ...

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        """The training loss, each example weighted by `batch["weight"]`."""
        ...

    def metrics(self, apply: Apply, batch: Batch) -> Metrics:
        """The metrics of an evaluation batch, weighted likewise; `loss` is one of them."""
        ...

    def predict(self, apply: Apply, batch: Batch) -> dict[str, jax.Array]:
        """Per-example arrays, [B, ...]: what the report and `--json` show. `loss` is one of them."""
        ...

    def scores(self, apply: Apply, batch: Batch) -> jax.Array:
        """One scalar an example, [B]: what explanations differentiate."""
        ...


@runtime_checkable
class Summarizes(Protocol):
    """A task with metrics that do not merge: of a whole split's predictions, on the host, after training and by `eval`.

    Areas under curves with their intervals, word error rates and BLEU are such.
    """

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Metrics by name, from `predict`'s arrays, each [N, ...]."""
        ...
