"""Training for certificates: by bounds that hold in a whole ball around each example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.precision import PRECISIONS
from deeplab.metrics.base import Mean, Metrics
from deeplab.robust.certify.specification import fast_margins, margins
from deeplab.robust.training.wrapper import Box, Wrapper, box_of
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Loss

Schedule = Callable[[jax.Array], Any]
"""From the number of the step to a number, as of Optax."""


@dataclasses.dataclass(frozen=True)
@ranges.checked(radius=ranges.NATURAL, natural=ranges.FRACTION, lines=ranges.FRACTION)
class Certified(Wrapper):
    """Interval bound propagation: the loss of the worst logits that bounds allow in a ball around each example.

    natural l(logits) + (1 - natural) l(worst logits), where l of the first is the loss of the task within. The radius
    grows from 0 during training, or the bounds are infinite before anything is learned. Evaluations tell
    `verified_accuracy` at `radius`: the share of examples that are proved to be right in their whole ball, by bounds in
    float32. Those of training have the precision of the step, and are no proof.

    The model is evaluated as it predicts, without dropout, and with the running statistics of a batch normalization.

    Args:
      inner: Classification of one label for each example.
      radius: Radius (l-infinity) of evaluations, in units of the input before its normalization; may be a tracer.
      schedule: Radius in training by the step; always `radius` when None.
      natural: Share of the ordinary loss (kappa of the paper), or a function of the step to it.
      lines: Share of the bounds that are handed back to the input by lines (CROWN-IBP), the rest being by intervals;
        or a function of the step to it. They are not computed at 0.
      box: Least and largest value of an input; 0 and 1 of images, and none of anything else, when None.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> growing = optax.linear_schedule(0.0, 0.1, transition_steps=2_000)
      >>> task = dl.robust.training.Certified(dl.tasks.Classification(), radius=0.1, schedule=growing)

    Source: Gowal et al. 2018, https://arxiv.org/abs/1810.12715; Zhang et al. 2020, https://arxiv.org/abs/1906.06316.
    """

    radius: float | jax.Array = 0.1
    schedule: Schedule | None = None
    natural: float | jax.Array | Schedule = 0.5
    lines: float | jax.Array | Schedule = 0.0
    box: Box | None = None

    @property
    def headline(self) -> tuple[str, ...]:
        return (*self.inner.headline, "verified_accuracy")

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        step, radius = apply.task_state["step"], self.radius
        natural, lines = (_at(value, step) for value in (self.natural, self.lines))
        radius = self.radius if self.schedule is None else self.schedule(step)
        out = self.inner.loss(self.within(apply), batch, key)
        found = self._margins(fast_margins, apply, batch, radius)
        if not isinstance(lines, int | float) or lines > 0:
            found = (1 - lines) * found + lines * self._margins(fast_margins, apply, batch, radius, method="crown-ibp")
        worst = Mean.of(jax.nn.logsumexp(-found, axis=-1), batch["weight"])  # the logit of the label is 0
        total = worst.total * out.loss.count / jnp.where(worst.count == 0, 1, worst.count)
        loss = Mean(natural * out.loss.total + (1 - natural) * total, out.loss.count)
        proved = {"verified_accuracy": _proved(found, batch), "natural_loss": out.loss}
        inner = apply.task_state["inner"] if out.state is None else out.state
        return Loss(loss, {**out.metrics, **proved}, out.variables, {"step": step, "inner": inner})

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        found = self._margins(margins, apply.rebound(precision=PRECISIONS["f32"]), batch, self.radius)
        return {**super().metrics(apply, batch, key), "verified_accuracy": _proved(found, batch)}

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        return {"step": jnp.zeros((), jnp.int32), "inner": self.inner.init_state(apply, batch, key)}

    def after_step(self, state: Any, params: Any) -> Any:
        return {"step": state["step"] + 1, "inner": self.inner.after_step(state["inner"], params)}

    def within(self, apply: Apply) -> Apply:
        return apply.rebound(task_state=apply.task_state["inner"])

    def _margins(
        self, kind: Callable[..., jax.Array], apply: Apply, batch: Batch, radius: Any, **how: Any
    ) -> jax.Array:
        x, *args = self.inputs(batch)
        box = box_of(self.box, x, radius)
        return kind(lambda *inputs: apply(*inputs)[0], x, batch["label"], radius, limits=box, args=args, **how)


def _at(value: Any, step: jax.Array) -> Any:
    return value(step) if callable(value) else value


def _proved(found: jax.Array, batch: Batch) -> Mean:
    """The share of examples of which all margins but the label's own are above 0."""
    own = jax.nn.one_hot(batch["label"], found.shape[-1], dtype=bool)
    return Mean.of(jnp.all((found > 0) | own, axis=-1).astype(jnp.float32), batch["weight"])
