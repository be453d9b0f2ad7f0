"""The contract of tasks: pure functions over `(apply, batch, key)`, and metrics that merge by addition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from deeplab.metrics.base import Mean, Metrics

Batch = dict[str, Any]


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
