"""What a run is, as a value.

An experiment is a pure function from hyper-parameters to an `Experiment`. Everything that one does with
an experiment (training, resuming, evaluating, sweeping, reporting) is a function of this value.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import flax.linen as nn
import optax
from jax.sharding import PartitionSpec

from deeplab.core.precision import PRECISIONS, Precision
from deeplab.data.base import Data
from deeplab.tasks.base import Task

Rules = Sequence[tuple[str, PartitionSpec]]
"""Sharding by name: the first regular expression that matches a parameter's path gives its `PartitionSpec`."""


Show = Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""`(raw batch, predictions) -> cards`: arrays [N, ...] of a few examples, and one card for each."""


class StaticMarker:
    """Marks a float argument that shapes the program, as every `int`, `bool` and `str` does."""


StaticFloat = Annotated[float, StaticMarker()]
"""A float that is never traced: `def experiment(width_multiplier: dl.StaticFloat = 1.0)`."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A frozen record of what is learnt (data, model, task) and how (optimizer, cadence).

    Built by a pure function of numbers: no input or output, no arrays, and cheap enough to be called under a
    trace, where its floats are tracers.

    Args:
      data: batches, as a pure function of (seed, step).
      model: a Flax Linen module, called as `model(*task.inputs(batch), train=...)`.
      task: the loss, metrics and predictions, as pure functions.
      optimizer: any Optax gradient transformation.
      rules: how parameters (and, by their path, the optimizer's moments) are laid out over a mesh.
      eval_every: steps between evaluations; one epoch when None, and at least once, at the end.
      precision: the dtypes of a step; see `dl.PRECISIONS`. The flag `--precision` names another row.
      accumulate: microbatches into which a step divides its batch, one after another, for its memory; by the flag
        `--accumulate`, too. The gradient is that of the whole batch, but batch norms see a microbatch.
      offload: keep the optimizer's moments in the host's memory between steps, where the devices can; `--offload`.
      monitor: the metric of the evaluation by which the best checkpoint is kept; "-loss" means smaller is better.
      show: how the report shows examples, `(raw batch, predictions) -> cards`, one card an example; see
        `dl.report.cards`. None shows what the task's predictions alone tell.
    """

    data: Data
    model: nn.Module
    task: Task
    optimizer: optax.GradientTransformation
    rules: Rules = ()
    eval_every: int | None = None
    precision: Precision = PRECISIONS["f32"]
    accumulate: int = 1
    offload: bool = False
    monitor: str = "-loss"
    show: Show | None = None

    @property
    def num_steps(self) -> int:
        """Length of the training run, in steps."""
        return self.data.num_steps

    @property
    def cadence(self) -> int:
        """Steps between evaluations: `eval_every`, or else an epoch, but a twentieth of the run at least."""
        return self.eval_every or max(self.data.steps_per_epoch, self.num_steps // 20)


def traced_arguments(function: Callable[..., Experiment]) -> dict[str, float]:
    """The arguments that may be tracers, with their defaults: the floats that are not marked `StaticFloat`.

    Example:
      >>> def experiment(width: int = 8, learning_rate: float = 0.1, scale: StaticFloat = 2.0): ...
      >>> traced_arguments(experiment)
      {'learning_rate': 0.1}
    """
    hints = typing.get_type_hints(function, include_extras=True)
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    return {name: default for name, default in defaults.items() if hints.get(name) is float}
