"""What methods of robust training share: a task around a task, which has the other's metrics and predictions."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError
from deeplab.metrics.base import Metrics
from deeplab.robust.inputs import refuse_wide
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import described
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained

Attack = Callable[[Apply, Batch, jax.Array], Batch]
"""`(apply, batch, key) -> batch`, pure: a batch that looks the same, such as `dl.robust.attacks.pgd(0.1)` makes."""

_ATTACK = 0x61747463  # folded into a task's key, for what a wrapper draws


@dataclasses.dataclass(frozen=True)
class Wrapper(Task):
    """A task that trains in another way; all the rest is the inner task's, whose parameters and state it has.

    Args:
      inner: Task.
      watch: Attack of the evaluations, which tells the metrics "attacked_loss", ... of the attacked batch; none when
        None. One with many steps shows what a weak attack in training hides.

    Example:
      >>> from deeplab.robust.training import SAM
      >>> from deeplab.tasks import Classification
      >>> SAM(Classification()).fields  # the inner task's, as of every wrapper
      ('image',)
    """

    inner: Task
    watch: Attack | None = dataclasses.field(default=None, kw_only=True)

    @property
    def fields(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  (read-only, as it is)
        return self.inner.fields

    @property
    def rules(self) -> Sequence[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.rules

    @property
    def headline(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.headline

    @abc.abstractmethod
    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss: ...

    def within(self, apply: Apply) -> Apply:
        """The model as the inner task knows it; another where this task has a state of its own beside the inner one's.

        Args:
          apply: Model, bound for this task.
        """
        return apply

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        return self.inner.inputs(batch)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        model, watch = self.within(apply), self.watch
        clean = self.inner.metrics(model, batch, key)
        if watch is None:
            return clean
        attacked = self.inner.metrics(model, watch(model, batch, attack_key(key)), key)
        return clean | {f"attacked_{name}": value for name, value in attacked.items()}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        return self.inner.predict(self.within(apply), batch, key)

    def score(self, outputs: Any, batch: Batch, target: Any = None) -> jax.Array:
        return self.inner.score(outputs, batch, target)

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        return self.inner.labels(apply, batch)

    def init_params(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        return self.inner.init_params(apply, batch, key)

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        return self.inner.init_state(apply, batch, key)

    def after_step(self, state: Any, params: Any) -> Any:
        return self.inner.after_step(state, params)

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        return self.inner.summarize(predictions)

    def warnings(self, metrics: Mapping[str, float]) -> Sequence[str]:
        return self.inner.warnings(metrics)

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return self.inner.artifacts(trained._replace(apply=lambda count: self.within(trained.apply(count))))


Box = tuple[Any, Any]
"""Least and largest value of an input: (0.0, 1.0) for images, (-inf, inf) for standardized columns."""


def attack_key(key: jax.Array) -> jax.Array:
    """Key of what a wrapper draws, beside the draws of the inner task."""
    return jax.random.fold_in(key, _ATTACK)


def frozen(apply: Apply) -> Apply:
    """The model in evaluation, through which no derivative reaches the parameters: what an attack looks at.

    Its batch norms use the running statistics, so that an example is attacked alike whatever its batch.
    """
    stop = jax.lax.stop_gradient
    return apply.evaluating().rebound(params=stop(apply.params), task_params=stop(apply.task_params))


def moved_field(task: Task, batch: Batch, method: str) -> str:
    """The field that a method moves: the first that the model reads.

    Args:
      task: Task.
      batch: Batch.
      method: Name of the method, for the message.

    Raises:
      UserError: The field is of integers, such as tokens, which cannot be moved a little.
    """
    name, given = task.fields[0], innermost(task)
    read = batch.get(name, task.inputs(batch)[0])
    if name not in batch or not jnp.issubdtype(getattr(read, "dtype", jnp.int32), jnp.floating):
        raise UserError(
            f"{method} moves the first input of {type(given).__name__} by small numbers, and it is {described(read)}; "
            "expected a field of floats, such as images in [0, 1]. For tokens and numbers of items use SAM or "
            "GroupDRO, which move no input"
        )
    return name


def box_of(box: Box | None, x: jax.Array, radius: Any) -> Box:
    """The box, or that of images [B, H, W, C], (0, 1); of anything else, such as standardized columns, there is none.

    A box that the data are not in would move them farther than the radius.

    Raises:
      UserError: The radius is larger than the box, as one of bytes is.
    """
    found = box or ((0.0, 1.0) if x.ndim == 4 else (-jnp.inf, jnp.inf))
    refuse_wide(radius, *found)
    return found


def innermost(task: Task) -> Task:
    """The task within all wrappers."""
    return innermost(task.inner) if isinstance(task, Wrapper) else task
