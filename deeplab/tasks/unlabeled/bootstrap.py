"""Bootstrap: a network predicts, from one view, what a moving average of itself makes of the other view."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from deeplab.core import ranges
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch
from deeplab.tasks.unlabeled import objectives
from deeplab.tasks.unlabeled.pairs import Side, TwoViews


@dataclasses.dataclass(frozen=True)
class _Taught(TwoViews):
    """A task whose state holds a teacher: the average of the parameters of model and projector, which gets no gradient.

    In training it uses the statistics of the batch, in evaluations the running ones of the student.
    """

    decay: float = 0.99

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        student = {**apply.params, "task": apply.task_params}
        return {**super().init_state(apply, batch, key), "teacher": _of_teacher(student)}

    def after_step(self, state: Any, params: Any) -> Any:
        teacher = optax.incremental_update(_of_teacher(params), state["teacher"], 1 - self.decay)
        return {**state, "teacher": teacher}

    def targets(self, apply: Apply, key: jax.Array, views: Sequence[jax.Array]) -> list[jax.Array]:
        """The teacher's projections of the views."""
        state = apply.task_state
        sides = [self.side(apply, view, key, state["heads"], state["teacher"]) for view in views]
        return [jax.lax.stop_gradient(side.z) for side in sides]


def _of_teacher(params: Any) -> dict[str, Any]:
    """What a teacher has: the model, and of the heads the projector."""
    model = {name: tree for name, tree in params.items() if name != "task"}
    return {"model": model, "heads": {"projector": params["task"]["projector"]}}


@dataclasses.dataclass(frozen=True)
@ranges.checked(decay=ranges.FRACTION)
class BYOL(_Taught):
    """A predictor turns a view's projection into the teacher's projection of the other view; no example is a negative.

    2 - 2 cos(predictor(z_a), teacher z_b), and the same with the views exchanged.

    Args:
      decay: Decay of the teacher at each step; may be a tracer.
      predictor: Module from the projection to one of the same width, such as `dl.models.MLP(64, features=(256,))`.

    Example:
      >>> import deeplab as dl
      >>> mlp = dl.models.MLP(64, features=(256,))
      >>> BYOL(dl.data.augment.flip(), mlp, predictor=mlp).decay
      0.99

    Source: Grill et al. 2020, https://arxiv.org/abs/2006.07733.
    """

    predictor: nn.Module = dataclasses.field(kw_only=True)

    def heads(self) -> Mapping[str, nn.Module]:
        return {"projector": self.projector, "predictor": self.predictor}

    def compare(
        self, apply: Apply, batch: Batch, key: jax.Array, views: Sequence[jax.Array], sides: Sequence[Side]
    ) -> tuple[Mean, dict[str, Any]]:
        heads, losses = sides[1].heads, []
        for side, target in zip(sides, reversed(self.targets(apply, key, views)), strict=True):
            prediction, heads = self.head(apply, "predictor", side.z, heads)
            losses.append(objectives.regression(prediction, target))
        return Mean.of(losses[0] + losses[1], batch["weight"]), {"heads": heads}


@dataclasses.dataclass(frozen=True)
@ranges.checked(
    decay=ranges.FRACTION,
    temperature=ranges.POSITIVE,
    teacher_temperature=ranges.POSITIVE,
    center_decay=ranges.FRACTION,
)
class DINO(_Taught):
    """The student's distribution over prototypes becomes the teacher's of the other view; see `objectives.dino`.

    The projector gives the logits of the prototypes, such as `deeplab.nn.parts.prototypes.Prototypes`. The teacher's
    are centered, so that no prototype wins always, and sharp, so that they are not all alike.

    Args:
      decay: Decay of the teacher at each step; may be a tracer.
      temperature: Temperature of the student.
      teacher_temperature: Temperature of the teacher.
      center_decay: Decay of the center at each step, or at each microbatch where steps are accumulated.

    Example:
      >>> import deeplab as dl
      >>> from deeplab.nn.parts.prototypes import Prototypes
      >>> DINO(dl.data.augment.flip(), Prototypes(64)).temperature
      0.1

    Source: Caron et al. 2021, https://arxiv.org/abs/2104.14294.
    """

    temperature: float = 0.1
    teacher_temperature: float = 0.04
    center_decay: float = 0.9

    def embedding(self, apply: Apply, z: jax.Array) -> jax.Array:
        """The distribution over prototypes: its logits have a center in common, which is no collapse."""
        return jax.nn.softmax((z - apply.task_state["center"][None]) / self.teacher_temperature)

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        state = super().init_state(apply, batch, key)
        logits = self.side(apply.evaluating(), self.inputs(batch)[0], key, state["heads"]).z
        return {**state, "center": jnp.zeros(logits.shape[-1])}

    def compare(
        self, apply: Apply, batch: Batch, key: jax.Array, views: Sequence[jax.Array], sides: Sequence[Side]
    ) -> tuple[Mean, dict[str, Any]]:
        center, weight = apply.task_state["center"], batch["weight"]
        teacher = self.targets(apply, key, views)
        student, taught = (sides[0].z, sides[1].z), (teacher[0], teacher[1])
        losses = objectives.dino(student, taught, center, self.temperature, self.teacher_temperature)
        mean = weight @ (teacher[0] + teacher[1]) / (2 * jnp.maximum(jnp.sum(weight), 1e-6))
        moved = self.center_decay * center + (1 - self.center_decay) * mean
        return Mean.of(losses, weight), {"center": moved}
