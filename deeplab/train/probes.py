"""Probes of the signals in a network, `(state, raw batch) -> metrics`, for `make_evaluator`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.metrics.base import Mean, Metrics
from deeplab.train.bind import bind, named_taps
from deeplab.train.gradient import ratio
from deeplab.train.state import State, eval_key, eval_state
from deeplab.train.step import make_eval, prepared

CONSTANT = 1e-3  # relative to the largest value: a unit that changes by less is constant


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConstantUnits:
    """Fraction of constant units, from the smallest and the largest value of each, [..., C].

    Constant are dead rectifiers (always 0), saturated units, and units whose input does not depend on the example.

    Example:
      >>> (ConstantUnits.of(jnp.array([[0.0, 1.0]])) + ConstantUnits.of(jnp.array([[0.0, 2.0]]))).compute()
      0.5
    """

    low: Any
    high: Any

    @classmethod
    def of(cls, values: jax.Array, weight: jax.Array | None = None) -> ConstantUnits:
        """Constant units of activations [B, ..., C]; examples of weight 0 are ignored."""
        weight = jnp.ones(len(values)) if weight is None else weight
        shown = weight.reshape(-1, *[1] * (values.ndim - 1)) > 0  # [B] -> [B, ..., 1]
        axes = tuple(range(values.ndim - 1))
        low = jnp.min(jnp.where(shown, values, jnp.inf), axis=axes)
        return cls(low, jnp.max(jnp.where(shown, values, -jnp.inf), axis=axes))

    def __add__(self, other: ConstantUnits) -> ConstantUnits:
        return type(self)(jnp.minimum(self.low, other.low), jnp.maximum(self.high, other.high))

    def compute(self) -> float:
        """Fraction of constant units; a unit whose values overflow is not constant."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        size = np.maximum(np.abs(low), np.abs(high))
        return float(np.mean(np.isfinite(size) & (high - low <= CONSTANT * size)))


def gradient_norms(experiment: Experiment, runtime: Runtime = Runtime()) -> Callable[[State, Batch], Metrics]:
    """Makes the probe `gradient_norm/NAME` for each module: the norm of a batch's gradient, averaged over batches.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state, batch = dl.init(exp, jax.random.key(0)), next(data.batches("train"))
      >>> sorted(jax.eval_shape(gradient_norms(exp), state, batch))
      ['gradient_norm/head']
    """

    def probe(state: State, batch: Batch) -> Metrics:
        batch = prepared(experiment.data, batch)

        def objective(params: Any) -> jax.Array:
            return ratio(experiment.task.loss(bind(experiment, state, batch, runtime, params), batch, state.key).loss)

        grads, count = jax.grad(objective)(state.params), jnp.sum(batch["weight"])
        return {f"gradient_norm/{name}": Mean(count * optax.tree.norm(g), count) for name, g in grads.items()}

    return probe


def constant_units(experiment: Experiment, runtime: Runtime = Runtime()) -> Callable[[State, Batch], Metrics]:
    """Makes the probe `constant_units/NAME` for each tap: the fraction of units that do not depend on the example.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, (4,)), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state, batch = dl.init(exp, jax.random.key(0)), next(data.batches("train"))
      >>> sorted(jax.eval_shape(constant_units(exp), state, batch))
      ['constant_units/activation1']
    """

    def probe(state: State, batch: Batch) -> Metrics:
        state, batch = eval_state(state), prepared(experiment.data, batch)
        apply = bind(experiment, state, batch, runtime)
        _, variables = apply(*experiment.task.inputs(batch), mutable=["intermediates"], key=eval_key(state))
        taps = named_taps(variables.get("intermediates", {}))
        return {f"constant_units/{name}": ConstantUnits.of(values, batch["weight"]) for name, values in taps.items()}

    return probe


def signals(experiment: Experiment, runtime: Runtime = Runtime()) -> Callable[[State, Batch], Metrics]:
    """Makes the probe of the evaluation's metrics, gradient norms and constant units, in one program.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state, batch = dl.init(exp, jax.random.key(0)), next(data.batches("train"))
      >>> sorted(jax.eval_shape(signals(exp), state, batch))
      ['accuracy', 'gradient_norm/head', 'loss']
    """
    probes = [make(experiment, runtime) for make in (make_eval, gradient_norms, constant_units)]
    return lambda state, batch: {name: m for probe in probes for name, m in probe(state, batch).items()}
