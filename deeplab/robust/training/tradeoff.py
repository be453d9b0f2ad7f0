"""TRADES: accuracy on what is given, and predictions that do not change around it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean
from deeplab.robust.training.madry import climb
from deeplab.robust.training.wrapper import Box, Wrapper, attack_key, box_of, frozen, innermost, moved_field
from deeplab.tasks import Classification, Clinical, MultiLabel, Segmentation
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Loss, Task
from deeplab.tasks.unlabeled.pairs import by_example


@dataclasses.dataclass(frozen=True)
@ranges.checked(radius=ranges.NATURAL, weight=ranges.NATURAL, steps=ranges.COUNT, step=ranges.POSITIVE)
class TRADES(Wrapper):
    """loss(x, y) + weight max_{|d| <= r} KL(p(x) || p(x + d)), of tasks whose outputs are probabilities of classes.

    Args:
      radius: Largest change of each number; may be a tracer.
      weight: Weight of the second term, beta in the paper, where it is 6 on CIFAR-10, and 1 on MNIST.
      steps: Number of steps of the attack.
      step: Length of a step; a quarter of the radius when None, as in the paper.
      box: Least and largest value of an input; 0 and 1 of images, and none of anything else, when None.

    Raises:
      UserError: When the loss is computed: the task has no probabilities of classes.

    Example:
      >>> from deeplab.tasks import Classification
      >>> TRADES(Classification(), radius=0.3, weight=1.0).headline  # all but the loss is the inner task's
      ('accuracy',)

    Source: Zhang et al. 2019, https://arxiv.org/abs/1901.08573.
    """

    radius: float | jax.Array
    weight: float | jax.Array = 6.0
    steps: int = 10
    step: float | jax.Array | None = None
    box: Box | None = None

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        name, own, model = moved_field(self.inner, batch, "TRADES"), attack_key(key), frozen(apply)
        clean = batch[name]
        log_p = log_probabilities(self.inner, model(*self.inner.inputs(batch))[0], "TRADES")

        def slope(x: jax.Array) -> jax.Array:
            return jax.grad(lambda x: jnp.sum(divergence(log_p, self._at(model, batch | {name: x}))))(x)

        # At the example itself the divergence has no slope.
        noise = jax.vmap(lambda k: 1e-3 * jax.random.normal(k, clean.shape[1:], clean.dtype))(by_example(own, batch))
        step = self.radius / 4 if self.step is None else self.step
        box = box_of(self.box, clean, self.radius)
        moved = batch | {name: climb(slope, clean, clean + noise, self.radius, step, self.steps, box)}
        out = self.inner.loss(apply, batch, key)
        changed = divergence(self._at(apply, batch, train=True, key=key), self._at(apply, moved, train=True, key=key))
        term = Mean.of(changed, batch["weight"])
        share = term.total / jnp.where(term.count == 0, 1, term.count)
        total = Mean(out.loss.total + self.weight * share * out.loss.count, out.loss.count)
        return out._replace(loss=total, metrics=out.metrics | {"divergence": term})

    def _at(self, apply: Apply, batch: Batch, **options: Any) -> jax.Array:
        return log_probabilities(self.inner, apply(*self.inner.inputs(batch), **options)[0], "TRADES")


def log_probabilities(task: Task, outputs: jax.Array, method: str) -> jax.Array:
    """Logarithms of the probabilities that a task's outputs stand for, [..., K]: of classes, or of each label or not.

    Args:
      task: Task.
      outputs: Outputs of its model.
      method: Name of what needs them, for the message.

    Raises:
      UserError: The task's outputs are no logits.

    Example:
      >>> jnp.exp(log_probabilities(MultiLabel(), jnp.zeros((1, 1)), "")).tolist()
      [[[0.5, 0.5]]]
    """
    match innermost(task):
        case Classification() | Clinical() | Segmentation():
            return jax.nn.log_softmax(outputs)
        case MultiLabel():
            return jnp.stack([jax.nn.log_sigmoid(outputs), jax.nn.log_sigmoid(-outputs)], axis=-1)
        case other:
            raise UserError(
                f"{method} compares probabilities of classes, and the outputs of {type(other).__name__} are none; use "
                "it with Classification, Clinical, MultiLabel or Segmentation, and for others Adversarial"
            )


def divergence(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p || q) of the last axis, [B, ..., K] -> [B], the mean over all axes between."""
    each = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
    return jnp.mean(each.reshape(len(each), -1), axis=1)
