"""Free adversarial training: the backward pass that moves the parameters moves the attack, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean
from deeplab.robust.training.wrapper import Box, Wrapper, box_of, moved_field
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import described
from deeplab.tasks.contract.task import Batch, Loss


@dataclasses.dataclass(frozen=True)
@ranges.checked(radius=ranges.NATURAL, step=ranges.POSITIVE)
class Free(Wrapper):
    """Adversarial training at the cost of ordinary training: one backward pass has both gradients.

    A step follows the gradient of loss(w, x + d, y), and d <- clip(d + step radius sign(dloss/dx), -radius, radius).
    The change d belongs to a place of the batch, and is carried from step to step in the state of the task. With data
    that repeat each batch, such as `dl.data.Images(..., repeats=8)`, it climbs on an example for all but the first of
    these steps, and begins where the example that had the place before has left it; nothing is drawn. An example that
    is repeated stays what it was when it came, its augmentation included: the change is one of that view.

    The loss holds its gradient rather than its graph, so that it is derived once, by the parameters; in float16 its
    scale does not reach the pass within.

    Args:
      radius: Largest change of each number; may be a tracer.
      step: Length of a step of the change, in radii.
      box: Least and largest value of an input; 0 and 1 of images, and none of anything else, when None.

    Raises:
      UserError: When the loss is computed: a batch has other shapes than an evaluation's, as of microbatches or of
        labels that are mixed.

    Example:
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=64, epochs=40, repeats=4)  # 10 orders of the examples
      >>> task = dl.robust.training.Free(dl.tasks.Classification(), 0.1)

    Source: Shafahi et al. 2019, https://arxiv.org/abs/1904.12843, algorithm 1.
    """

    radius: float | jax.Array
    step: float | jax.Array = 1.0
    box: Box | None = None

    @property
    def rules(self) -> Sequence[Any]:
        return (("^task/(held|change)", PartitionSpec(("data", "fsdp", "expert"))), *self.inner.rules)  # as the batch

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        name, state, model = moved_field(self.inner, batch, "Free"), apply.task_state, self.within(apply)
        held = _held(state["held"], _fields(batch))
        box = box_of(self.box, held[name], self.radius)
        x = jnp.clip(held[name] + jnp.clip(state["change"], -self.radius, self.radius), *box)

        def at(params: Any, x: jax.Array) -> tuple[jax.Array, Loss]:
            bound = model.rebound(params=params[0], task_params=params[1])
            out = self.inner.loss(bound, batch | held | {name: x}, key)
            return out.loss.total, out

        params = (apply.params, apply.task_params)
        (slope, uphill), out = jax.grad(at, (0, 1), has_aux=True)(jax.lax.stop_gradient(params), x)
        change = jnp.clip(state["change"] + self.step * self.radius * jnp.sign(uphill), -self.radius, self.radius)
        inner = state["inner"] if out.state is None else out.state
        total = _with_gradient(out.loss.total, params, slope)
        return out._replace(loss=Mean(total, out.loss.count), state={"held": held, "change": change, "inner": inner})

    def within(self, apply: Apply) -> Apply:
        return apply.rebound(task_state=apply.task_state["inner"])

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        held = _fields(batch) | {"id": jnp.full_like(batch["id"], -1)}
        name, inner = self.inner.fields[0], self.inner.init_state(apply, batch, key)
        return {"held": held, "change": jnp.zeros_like(batch[name]) if name in batch else (), "inner": inner}

    def after_step(self, state: Any, params: Any) -> Any:
        return state | {"inner": self.inner.after_step(state["inner"], params)}


def _fields(batch: Batch) -> Batch:
    return {name: x for name, x in batch.items() if name != "weight"}


def _held(old: Batch, new: Batch) -> Batch:
    """The fields of the step before, where a place has the same example again; elsewhere the new ones."""
    for name in sorted(old.keys() | new.keys()):
        was, given = (described(batch.get(name)) for batch in (old, new))
        if was != given:
            raise UserError(
                f"Free carries a change for each place of a batch, in which {name!r} is {was}, and is given {given}; "
                "it has no microbatches (leave out --accumulate), no loss of a single example and no mixed labels "
                "(leave out mix=): use Fast or Adversarial for these"
            )
    again = old["id"] == new["id"]
    return jax.tree.map(lambda a, b: jnp.where(again.reshape(-1, *[1] * (b.ndim - 1)), a, b), old, new)


def _with_gradient(value: jax.Array, params: Any, slope: Any) -> jax.Array:
    """A value whose gradient by the parameters is known: value + slope (params - params)."""
    stop = jax.lax.stop_gradient
    zeros = jax.tree.map(lambda w, g: jnp.sum(stop(g) * (w - stop(w))).astype(value.dtype), params, slope)
    return stop(value) + sum(jax.tree.leaves(zeros))
