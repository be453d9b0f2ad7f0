"""The gradient of a batch's loss, computed at once or accumulated over microbatches to save memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.abstract.convolutions import canonical
from deeplab.core.errors import UserError
from deeplab.core.precision import Scaled, cast
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.metrics.base import Mean
from deeplab.scale.activations import with_examples
from deeplab.tasks.contract.task import Loss
from deeplab.train.bind import bind
from deeplab.train.state import State


def gradient(
    experiment: Experiment, state: State, batch: Batch, key: jax.Array, runtime: Runtime = Runtime()
) -> tuple[Any, Loss]:
    """Gradient of sum(w_b l_b) / sum(w_b) over the examples b, and the task's `Loss` of the batch.

    With `accumulate` k, row i of the batch is in microbatch i mod k, so that no row leaves its device. Sums are
    accumulated and divided once, so that the result equals that of the whole batch up to rounding, for any weights;
    dropout and augmentation are keyed by example. Two things depend on the microbatch: the statistics of batch norms
    (whose running means are then updated k times), and losses that compare examples, such as `InBatchSoftmax`.

    Raises:
      UserError: The batch does not divide into microbatches.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state, batch = dl.init(exp, jax.random.key(0)), data.transform(next(data.batches("train")))
      >>> grads, out = jax.eval_shape(lambda state: gradient(exp, state, batch, state.key), state)
      >>> jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, state.params)
      True
      >>> gradient(exp, state, batch, state.key, dl.Runtime(accumulate=3))  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: --accumulate 3 does not divide the 32 examples of a batch; use one of 1, 2, 4, ...
    """
    factor = state.opt_state.scale if isinstance(state.opt_state, Scaled) else None

    def part(state: State, batch: Batch, divisor: int | None = None) -> tuple[Any, Loss]:
        def objective(params: Any) -> tuple[jax.Array, Loss]:
            out = experiment.task.loss(bind(experiment, state, batch, runtime, params), batch, key)
            out = out._replace(variables={name: out.variables[name] for name in state.variables})
            out = out._replace(state=state.task if out.state is None else out.state)
            value = ratio(out.loss) if divisor is None else out.loss.total / divisor
            return (value if factor is None else value * factor), out

        return jax.grad(objective, has_aux=True)(state.params)

    if runtime.accumulate == 1:
        grads, out = part(state, batch)
    else:
        grads, out = _accumulated(runtime, part, state, batch)
    return (grads if factor is None else jax.tree.map(lambda g: g / factor.astype(g.dtype), grads)), out


def ratio(loss: Mean) -> jax.Array:
    """The mean as a number to differentiate; 0 where nothing counts, so that a batch without a target has gradient 0.

    Example:
      >>> float(ratio(Mean(jnp.float32(3.0), jnp.float32(2.0)))), float(ratio(Mean(jnp.float32(0.0), jnp.float32(0.0))))
      (1.5, 0.0)
    """
    return loss.total / jnp.where(loss.count == 0, 1, loss.count)


def make_value_fn(
    experiment: Experiment, state: State, batch: Batch, key: jax.Array, runtime: Runtime = Runtime()
) -> Callable[[Any], jax.Array]:
    """Makes the loss of a batch as a function of the parameters, for optimizers with a line search.

    Its value at the state's parameters is the loss whose gradient `gradient` computes: the same examples, microbatches,
    dropout and batch statistics, without the loss scale.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state, batch = dl.init(exp, jax.random.key(0)), data.transform(next(data.batches("train")))
      >>> loss = make_value_fn(exp, state, batch, state.key)
      >>> round(loss(jax.tree.map(jnp.zeros_like, state.params)).item(), 4)  # log 10: all classes alike
      2.3026
    """

    def value_fn(params: Any) -> jax.Array:
        def part(carry: tuple[Any, Any], batch: Batch) -> tuple[tuple[Any, Any], Any]:
            now = dataclasses.replace(state, variables=carry[0], task=carry[1])
            out = experiment.task.loss(bind(experiment, now, batch, runtime, params), batch, key)
            variables = {name: out.variables[name] for name in state.variables}
            return (variables, now.task if out.state is None else out.state), out.loss

        if runtime.accumulate == 1:
            loss = part((state.variables, state.task), batch)[1]
        else:  # a gradient then stores the forward pass of one microbatch only
            parts = _microbatches(batch, runtime.accumulate)
            losses = jax.lax.scan(jax.checkpoint(part), (state.variables, state.task), parts)[1]
            loss = jax.tree.map(lambda x: x.sum(0), losses)
        return ratio(loss)

    return value_fn


def _accumulated(runtime: Runtime, part: Callable, state: State, batch: Batch) -> tuple[Any, Loss]:
    size = len(batch["weight"])
    parts = _microbatches(batch, runtime.accumulate)
    first = {name: x[0] for name, x in parts.items()}

    def add(total: tuple[Any, Loss], batch: Batch) -> tuple[tuple[Any, Loss], None]:
        now = dataclasses.replace(state, variables=total[1].variables, task=total[1].state)
        grads, out = part(now, batch, size)
        loss, metrics = jax.tree.map(jnp.add, (total[1].loss, total[1].metrics), (out.loss, out.metrics))
        grads = jax.tree.map(lambda a, b: a + b.astype(a.dtype), total[0], grads)
        return (grads, Loss(loss, metrics, out.variables, out.state)), None

    shapes = jax.eval_shape(part, state, first, size)
    grads, out = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total = (cast(grads, runtime.precision.reductions), out._replace(variables=state.variables, state=state.task))
    (grads, out), _ = jax.lax.scan(canonical(add), total, parts)
    factor = size / jnp.where(out.loss.count == 0, 1, out.loss.count)
    return jax.tree.map(lambda g, p: (g * factor).astype(p.dtype), grads, state.params), out


def _microbatches(batch: Batch, count: int) -> Batch:
    """Splits [B, ...] into [count, B / count, ...], each microbatch over all devices that hold the batch."""
    size = len(batch["weight"])
    if size % count:
        raise UserError(
            f"--accumulate {count} does not divide the {size} examples of a batch; use one of "
            f"{', '.join(str(k) for k in range(1, size + 1) if size % k == 0)}"
        )

    def split(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(size // count, count, *x.shape[1:]), 0, 1)

    parts = jax.tree.map(split, batch)
    return jax.vmap(lambda part: with_examples(part, size // count))(parts)
