"""Adversarial training: the loss at the worst input within reach, found by many steps, or fast by a single one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.abstract.convolutions import canonical
from deeplab.metrics.base import Mean, Metrics
from deeplab.robust.training.wrapper import Attack, Box, Wrapper, attack_key, box_of, frozen, moved_field
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Loss, Task
from deeplab.tasks.unlabeled.pairs import by_example


def climb(
    slope: Callable[[jax.Array], jax.Array],
    clean: jax.Array,
    start: jax.Array,
    radius: Any,
    step: Any,
    steps: int,
    box: Box,
) -> jax.Array:
    """Steps along the sign of a slope, each projected into the ball around `clean` and into the box.

    Args:
      slope: Function from inputs [B, ...] to the gradient of what is raised.
      clean: Inputs.
      start: Where the climb begins.
      radius: Largest change of each number.
      step: Length of a step.
      steps: Number of steps.
      box: Least and largest value.
    """  # fmt: skip
    low, high = jnp.maximum(clean - radius, box[0]), jnp.minimum(clean + radius, box[1])

    def ascend(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.clip(x + step * jnp.sign(slope(x)), low, high), None

    # Canonical, since a gradient of convolutions within a loop is slow on a CPU otherwise.
    slope = canonical(slope)
    return jax.lax.stop_gradient(jax.lax.scan(ascend, jnp.clip(start, low, high), length=steps)[0])


@ranges.checked(radius=ranges.NATURAL, steps=ranges.COUNT, step=ranges.POSITIVE)
def uphill(
    task: Task, radius: Any, steps: int = 10, step: Any = None, *, random: bool = True, box: Box | None = None
) -> Attack:
    """Makes the attack that raises a task's own loss, of any task whose first input is of floats (PGD, linf).

    Attacks of `dl.robust.attacks` raise an objective of the outputs instead, and know more norms.

    Args:
      task: Task whose loss is raised.
      radius: Largest change of each number; may be a tracer.
      steps: Number of steps; with one it is FGSM (Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572).
      step: Length of a step; 2.5 radius / steps when None.
      random: Whether to begin at a random point of the ball, drawn for each example by its `id`.
      box: Least and largest value of an input; 0 and 1 of images, and none of anything else, when None.

    Example:
      >>> from deeplab.tasks import Regression
      >>> attack = uphill(Regression(fields=("x",)), 0.1, steps=5, box=(-3.0, 3.0))
    """

    def attack(apply: Apply, batch: Batch, key: jax.Array) -> Batch:
        name, start_key, model = moved_field(task, batch, "an attack"), attack_key(key), frozen(apply)
        clean, length = batch[name], 2.5 * radius / steps if step is None else step

        def slope(x: jax.Array) -> jax.Array:
            return jax.grad(lambda x: task.loss(model, batch | {name: x}, key).loss.total)(x)

        start = clean + _within(start_key, batch, name, radius) if random else clean
        return batch | {name: climb(slope, clean, start, radius, length, steps, box_of(box, clean, radius))}

    return attack


@dataclasses.dataclass(frozen=True)
@ranges.checked(growth=ranges.Range(at_least=0, whole=True))
class Adversarial(Wrapper):
    """Adversarial training: the loss of the attacked batch; metrics are told of the clean and of the attacked one.

    min_w E max_{|d| <= r} loss(w, x + d, y), with the maximum that `attack` finds. The attack sees the model in
    evaluation: its batch norms use the running statistics.

    A small network may learn nothing from attacks of a large radius at the start; with `growth` the change that the
    attack makes is scaled by a share, which grows from 0 to 1 in the first steps.

    Args:
      attack: Attack of the training batches, and of the evaluations unless `watch` is given.
      growth: Number of steps in which the attack grows to its full size; full from the start at 0.

    Example:
      >>> import deeplab as dl
      >>> task = dl.tasks.Classification()
      >>> Adversarial(task, uphill(task, 0.1, steps=3)).fields
      ('image',)

    Source: Madry et al. 2018, https://arxiv.org/abs/1706.06083.
    """

    attack: Attack
    growth: int = 0

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        model = self.within(apply)
        attacked = self.attack(frozen(model), batch, attack_key(key))
        if not self.growth:
            return self.inner.loss(model, attacked, key)
        step = apply.task_state["step"]
        share = jnp.minimum(step / self.growth, 1.0)
        moved = {name: x + share * (attacked[name] - x) for name, x in batch.items() if attacked[name] is not x}
        out = self.inner.loss(model, attacked | moved, key)
        return out._replace(state={"step": step, "inner": model.task_state if out.state is None else out.state})

    def within(self, apply: Apply) -> Apply:
        return apply.rebound(task_state=apply.task_state["inner"]) if self.growth else apply

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        inner = self.inner.init_state(apply, batch, key)
        return {"step": jnp.zeros((), jnp.int32), "inner": inner} if self.growth else inner

    def after_step(self, state: Any, params: Any) -> Any:
        if not self.growth:
            return self.inner.after_step(state, params)
        return {"step": state["step"] + 1, "inner": self.inner.after_step(state["inner"], params)}

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        watching = self if self.watch is not None else dataclasses.replace(self, watch=self.attack)
        return super(Adversarial, watching).metrics(apply, batch, key)


@dataclasses.dataclass(frozen=True)
@ranges.checked(radius=ranges.NATURAL, step=ranges.POSITIVE, align=ranges.NATURAL)
class Fast(Wrapper):
    """Adversarial training by one step from a random point (FGSM-RS), with gradients that are kept aligned.

    Without alignment a long training may collapse: the model resists the one step, and no other ("catastrophic
    overfitting"), which `watch` with an attack of many steps tells. Aligned, the loss of an example has the further
    term align (1 - cos(grad loss(x), grad loss(x + u))), u uniform in the ball, at twice the cost of a step.

    Args:
      radius: Largest change of each number; may be a tracer.
      step: Length of the step, in radii.
      align: Weight of GradAlign; none at 0, where its cost is spared. The paper has 0.2 at 8 / 255 on CIFAR-10.
      box: Least and largest value of an input; 0 and 1 of images, and none of anything else, when None.

    Example:
      >>> from deeplab.tasks import Classification
      >>> Fast(Classification(), radius=8 / 255, align=0.2).headline
      ('accuracy',)

    Source: Wong et al. 2020, https://arxiv.org/abs/2001.03994; GradAlign: Andriushchenko and Flammarion 2020,
      https://arxiv.org/abs/2007.02617.
    """

    radius: float | jax.Array
    step: float | jax.Array = 1.25
    align: float | jax.Array = 0.0
    box: Box | None = None

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        attack = uphill(self.inner, self.radius, 1, self.step * self.radius, box=self.box)
        out = self.inner.loss(apply, attack(apply, batch, attack_key(key)), key)
        if isinstance(self.align, float | int) and self.align == 0:
            return out
        apart = Mean.of(1 - self._cosine(apply.evaluating(), batch, key), batch["weight"])
        share = jnp.where(apart.count == 0, 0, apart.total / jnp.where(apart.count == 0, 1, apart.count))
        total = out.loss.total + self.align * share * out.loss.count
        return out._replace(loss=Mean(total, out.loss.count), metrics=out.metrics | {"misaligned": apart})

    def _cosine(self, apply: Apply, batch: Batch, key: jax.Array) -> jax.Array:
        """Cosine of the gradients at each example and at a random point beside it, [B]."""
        name = moved_field(self.inner, batch, "GradAlign")
        aside = batch[name] + _within(jax.random.fold_in(attack_key(key), 1), batch, name, self.radius)

        def slope(x: jax.Array) -> jax.Array:
            slopes = jax.grad(lambda x: self.inner.loss(apply, batch | {name: x}, key).loss.total)(x)
            slopes = slopes.reshape(len(x), -1)
            # A number under the root: an example without a slope has derivative 0.
            square, tiny = jnp.sum(slopes * slopes, axis=1, keepdims=True), jnp.finfo(slopes.dtype).tiny
            return jnp.where(square > tiny, slopes * jax.lax.rsqrt(jnp.maximum(square, tiny)), 0)

        return jnp.sum(slope(batch[name]) * slope(jnp.clip(aside, *box_of(self.box, aside, self.radius))), axis=1)


def _within(key: jax.Array, batch: Batch, name: str, radius: Any) -> jax.Array:
    """A uniform change of each number by up to the radius, drawn for each example by its `id`."""
    x = batch[name]
    draw = jax.vmap(lambda k: jax.random.uniform(k, x.shape[1:], x.dtype, -1.0, 1.0))
    return radius * draw(by_example(key, batch))
