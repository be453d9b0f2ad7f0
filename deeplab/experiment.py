"""What a run is, as a value.

An experiment is a pure function from hyper-parameters to an `Experiment`. Everything that one does with
an experiment (training, resuming, evaluating, sweeping, reporting) is a function of this value.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import flax.linen as nn
import optax
from jax.sharding import PartitionSpec

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.core.monitor import Monitor
from deeplab.core.printable import as_tree
from deeplab.data.base import Data
from deeplab.optim.check import check_hyperparameters
from deeplab.optim.paths import several
from deeplab.tasks.contract.outputs import described
from deeplab.tasks.contract.task import Task

Rules = Sequence[tuple[str, PartitionSpec]]
"""Sharding by name: the first regular expression that matches a parameter's path gives its `PartitionSpec`."""


Show = Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""`(raw batch, predictions) -> cards`: arrays [N, ...] of a few examples, and one card for each."""


class StaticMarker:
    """Marks a float argument that shapes the program, as every `int`, `bool` and `str` does."""


StaticFloat = Annotated[float, StaticMarker()]
"""A float that is never traced: `def experiment(width_multiplier: dl.StaticFloat = 1.0)`."""


class FoldMarker:
    """Marks the argument that says which part of the data is held out."""


Fold = Annotated[int, FoldMarker()]
"""Index of the part of the data that is held out: `def experiment(fold: dl.Fold = 0)`.

A sweep over it is a cross-validation: folds are averaged like seeds, and none of them is the best.
"""


@dataclasses.dataclass(frozen=True)
class Weights:
    """Trained values for a part of the first state: a record of functions, opened when a run is prepared, as data is.

    Args:
      source: Name of where the values come from, for the run's record: a path, or the name of a published model.
      load: Function from the abstract arrays of the part (`jax.ShapeDtypeStruct`s with their shardings) to arrays of
        the same structure, shapes and dtypes; the only effect.
      path: Part of the state, such as "params", "params/encoder" or "task/teacher".
      skip: Regular expressions of parameter paths, relative to `path`, that keep their initial values.
      digest: SHA-256 of what `load` reads, for the run's record.

    Example:
      >>> import jax.numpy as jnp
      >>> Weights("zeros", lambda tree: {"w": jnp.zeros(tree["w"].shape)}, path="params/head").path
      'params/head'
    """

    source: str
    load: Callable[[Any], Any]
    path: str = "params"
    skip: tuple[str, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "skip", several(self.skip))


_PARTS = {
    "data": (Data, "data such as dl.data.Images(...), dl.data.Examples(...) or dl.data.Text(...)"),
    "model": (nn.Module, "a Flax Linen module such as dl.models.MLP(...)"),
    "task": (Task, "a task such as dl.tasks.Classification()"),
    "optimizer": (object, "an Optax optimizer such as optax.adamw(1e-3)"),
    "monitor": (Monitor, 'a monitor such as dl.Monitor("accuracy", "max")'),
}
"""The type of each part of an experiment, and what a message expects."""

_METHODS = {"model": {"init", "apply"}, "optimizer": {"init", "update"}}
"""Methods that suffice in place of a type: a model may wrap a module, as `dl.tuning` does."""


def _check_part(name: str, value: Any) -> None:
    kind, expected = _PARTS[name]
    fits = _METHODS[name] <= set(dir(value)) if name in _METHODS else isinstance(value, kind)
    if fits and not isinstance(value, type):
        return
    if isinstance(value, type) or inspect.isfunction(value):
        given = f"{value.__name__}, which is not called"
    else:
        given = f"the {type(value).__name__} {value!r}" if isinstance(value, int | float | str) else described(value)
    raise UserError(f"the {name} of the experiment is {given}; expected {expected}")


@dataclasses.dataclass(frozen=True)
@ranges.checked(eval_every=ranges.COUNT, patience=ranges.COUNT)
class Experiment:
    """A frozen record of what is learned (data, model, task) and how (optimizer, cadence).

    Built by a pure function of numbers: no input or output, no arrays, and cheap enough to be called under a
    trace, where its floats are tracers.

    Args:
      data: Batches, as a pure function of (seed, step).
      model: A Flax Linen module, called as `model(*task.inputs(batch), train=...)`.
      task: Loss, metrics and predictions, as pure functions.
      optimizer: Any Optax gradient transformation.
      rules: Sharding of parameters (and, by their path, of the optimizer state) over a mesh; the `rules` attribute of
        the model and of the task when None.
      weights: Trained values for parts of the first state.
      eval_every: Number of steps between evaluations; one epoch when None, and at least once, at the end.
      monitor: Metric of the evaluation by which the best checkpoint is kept.
      show: Function that draws examples in place of the data's own, `(raw batch, predictions) -> cards`, one each; see
        `dl.report.cards`. What the task's predictions tell when None.
      patience: Number of evaluations without an improvement of the monitored metric after which the run ends, before
        `num_steps`; it runs to its end when None. Runs of a sweep or a study end together, and have none.

    Raises:
      UserError: A part is of another kind, such as a class that is not called, or a number is out of its range.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=128, epochs=2)
      >>> value = Experiment(data, dl.models.MLP(num_classes=10), dl.tasks.Classification(), optax.adam(1e-3))
      >>> value.num_steps == data.num_steps
      True
    """

    data: Data
    model: nn.Module
    task: Task
    optimizer: optax.GradientTransformation
    rules: Rules | None = None
    weights: Weights | Sequence[Weights] = ()
    eval_every: int | None = None
    monitor: Monitor = Monitor()
    show: Show | None = None
    patience: int | None = None

    _repr_html_ = as_tree

    def __post_init__(self) -> None:
        for name in _PARTS:
            _check_part(name, getattr(self, name))
        if isinstance(self.task.fields, str):
            raise UserError(
                f"fields of {type(self.task).__name__} is the text {self.task.fields!r}, expected names: "
                f"fields=({self.task.fields!r},)"
            )
        check_hyperparameters(self.optimizer)

    @property
    def num_steps(self) -> int:
        """Length of the training run, in steps."""
        return self.data.num_steps

    @property
    def cadence(self) -> int:
        """Steps between evaluations: `eval_every`, or else an epoch, but a twentieth of the run at least."""
        return self.eval_every or max(self.data.steps_per_epoch, math.ceil(self.num_steps / 20))

    @property
    def sharding_rules(self) -> Rules:
        """`rules`, or else those of the model and of the task."""
        if self.rules is not None:
            return self.rules
        return (*getattr(self.model, "rules", ()), *self.task.rules)


def traced_arguments(function: Callable[..., Experiment]) -> dict[str, float]:
    """The arguments that may be tracers, with their defaults: the floats that are not marked `StaticFloat`.

    Example:
      >>> def experiment(width: int = 8, learning_rate: float = 0.1, scale: StaticFloat = 2.0): ...
      >>> traced_arguments(experiment)
      {'learning_rate': 0.1}
    """
    hints = _hints(function)
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    return {name: default for name, default in defaults.items() if hints.get(name) is float}


def is_fold(kind: Any) -> bool:
    """Whether the type of an argument is marked as `Fold` is."""
    return any(isinstance(extra, FoldMarker) for extra in getattr(kind, "__metadata__", ()))


def fold_argument(function: Callable[..., Experiment]) -> str | None:
    """The argument that is annotated as a `Fold`; None where there is none.

    Example:
      >>> def experiment(width: int = 8, part: Fold = 0): ...
      >>> fold_argument(experiment)
      'part'
    """
    marked = [name for name, hint in _hints(function).items() if is_fold(hint)]
    if len(marked) > 1:
        raise UserError(f"the arguments {', '.join(marked)} are all a dl.Fold, expected one: a run holds out one part")
    return marked[0] if marked else None


def _hints(function: Callable[..., Experiment]) -> dict[str, Any]:
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return typing.get_type_hints(inspect.unwrap(inner), include_extras=True)
