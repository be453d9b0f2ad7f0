"""Whether model, task and data keep their contracts: asked before the first step, by a trace that computes nothing."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from deeplab.core.errors import UserError, nearest, place_of, place_of_error
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.tasks.contract.outputs import described
from deeplab.tasks.contract.task import Labels, Task
from deeplab.train.bind import bind
from deeplab.train.check import check_declared, label_fields
from deeplab.train.contracts.pairs import no_pairs
from deeplab.train.contracts.returned import check_loss, check_metrics, check_predictions
from deeplab.train.initialize import init
from deeplab.train.state import State


class Checked(NamedTuple):
    """An experiment that keeps its contracts.

    Attributes:
      state: Shapes of its first state.
      remarks: What may be a mistake, a sentence each.
    """

    state: State
    remarks: tuple[str, ...]


def checked(experiment: Experiment, runtime: Runtime = Runtime()) -> Checked:
    """Checks an experiment as a whole, before anything is computed.

    Raises:
      UserError: The model cannot read the data, or `check_task` refuses the task.

    Example:
      >>> from experiments.image_digits import experiment
      >>> checked(experiment()).remarks
      ()
    """
    state = state_shapes(experiment, runtime)
    fields = check_task(experiment, state, runtime)
    return Checked(state, tuple(_remarks(experiment, fields)))


def _remarks(experiment: Experiment, fields: Mapping[str, Labels]) -> Iterator[str]:
    data, model = experiment.data, type(experiment.model).__name__
    if data.batch_size > data.num_train:
        yield (
            f"a batch of {data.batch_size} is larger than the {data.num_train} training examples, so that one step "
            f"reads an example several times; a --batch-size of {data.num_train} or less does not"
        )
    for name, (_, classes) in data.bounds().items():
        known = name in fields and fields[name].needed is None and not fields[name].present
        if known and fields[name].outputs > classes:
            yield (
                f"{model} has {fields[name].outputs} outputs, and {name!r} has {classes} classes: the others can only "
                "be wrong"
            )


def state_shapes(experiment: Experiment, runtime: Runtime = Runtime()) -> State:
    """Shapes and dtypes of the first state.

    Raises:
      UserError: The model cannot read the data; the message describes both.
    """
    model = type(experiment.model)
    _check_call(experiment)
    try:
        return jax.eval_shape(lambda: init(experiment, jax.random.key(0), runtime))
    except UserError:
        raise
    except Exception as error:  # whatever a user's model raises
        fields = {name: f"{s.dtype}{list(s.shape)}" for name, s in experiment.data.spec().items()}
        raise UserError(
            f"{model.__name__} cannot read a batch of {type(experiment.data).__name__} through "
            f"{type(experiment.task).__name__}: {_reason(error)}\nA batch holds {fields}; change the arguments of the "
            "model, or the fields that the task passes to it"
        ) from error


def _check_call(experiment: Experiment) -> None:
    """Checks that the model can be called with `train`, and with as many inputs as the task passes."""
    model, task = type(experiment.model), experiment.task
    if not isinstance(experiment.model, nn.Module):  # but a wrapper of one
        return
    call, place = getattr(experiment.model, "__call__", place_of), place_of(model)  # noqa: B004  (its signature is read)
    name, kinds = f"{model.__name__}{place and f' ({place})'}", {p.kind for p in _inputs(call).values()}
    if "train" not in inspect.signature(call).parameters and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise UserError(
            f"{name} cannot be called with `train`, which says whether dropout and batch norms train; declare def "
            "__call__(self, x, train: bool = False)"
        )
    if type(task).inputs is not Task.inputs or inspect.Parameter.VAR_POSITIONAL in kinds:
        return
    read = [p for p in _inputs(call).values() if p.kind != p.VAR_KEYWORD]
    if not sum(p.default is p.empty for p in read) <= len(task.fields) <= len(read):
        raise UserError(
            f"{name} reads {', '.join(p.name for p in read) or 'nothing'}, and {type(task).__name__} passes the fields "
            f"{', '.join(task.fields) or 'none'}; give the task the fields that the model reads, in that order"
        )


def _inputs(call: Any) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(call).parameters.items() if name != "train"}


def check_task(experiment: Experiment, state: State, runtime: Runtime = Runtime()) -> Mapping[str, Labels]:
    """Traces the loss, the metrics and the predictions of a batch, and checks what they return.

    Args:
      experiment: Experiment to check.
      state: Its first state; shapes suffice.
      runtime: Precision of the model.

    Returns:
      The task's fields of labels by name, from `label_fields`.

    Raises:
      UserError: The task reads a field that the batch lacks, or fails on the outputs of the model; the data declare a
        label without an output; what the task returns is no `Loss`, no metrics or no predictions; it compares every
        example with every other by broadcasting; or the monitor is no metric.

    Example:
      >>> from experiments.image_digits import experiment
      >>> check_task(experiment(), state_shapes(experiment()))["label"].outputs
      10
    """
    with _explained(experiment, state, runtime, "labels"):
        fields = label_fields(experiment, state, runtime)
    for name, labels in fields.items():
        check_declared(experiment, name, labels)
    check_loss(experiment, state, _traced(experiment, state, runtime, "loss"))
    metrics = _traced(experiment, state, runtime, "metrics")
    check_metrics(f"{type(experiment.task).__name__}.metrics", metrics)
    if experiment.monitor.name not in metrics:
        raise UserError(
            f"the monitor {experiment.monitor.name!r} is no metric of the evaluation; "
            f"{nearest(experiment.monitor.name, metrics)}"
        )
    check_predictions(experiment, _traced(experiment, state, runtime, "predict"))
    return fields


def _traced(experiment: Experiment, state: State, runtime: Runtime, method: str) -> Any:
    """Shapes of what a method of the task returns."""

    def call(state: State, batch: Any) -> Any:
        return getattr(experiment.task, method)(bind(experiment, state, batch, runtime), batch, state.key)

    with _explained(experiment, state, runtime, method), no_pairs():
        return jax.eval_shape(call, state, dict(experiment.data.spec()))


@contextlib.contextmanager
def _explained(experiment: Experiment, state: State, runtime: Runtime, method: str) -> Iterator[None]:
    """Context in which an error of the task is told with what it was given: the batch, or the outputs of the model."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a user's task raises
        task, model = (type(x).__name__ for x in (experiment.task, experiment.model))
        spec = experiment.data.spec()
        if isinstance(error, KeyError) and error.args[0] not in spec:
            fields = ", ".join(f"{name} {s.dtype}{list(s.shape)}" for name, s in spec.items())
            raise UserError(
                f"{task}.{method} looks for {error}, which is not there; a batch of {type(experiment.data).__name__} "
                f"holds {fields}"
            ) from error
        outputs = _outputs(experiment, state, runtime)
        mend = {type(None): "; does its __call__ lack a `return`?", tuple: "; return one array, or give another task"}
        raise UserError(
            f"{task}.{method} cannot use what {model} returns, {described(outputs)}: {_reason(error)}"
            f"{mend.get(type(outputs), '')}"
        ) from error


def _outputs(experiment: Experiment, state: State, runtime: Runtime) -> Any:
    """Shapes of the model's outputs."""

    def call(state: State, batch: Any) -> Any:
        return bind(experiment, state, batch, runtime)(*experiment.task.inputs(batch), train=True, key=state.key)[0]

    return jax.eval_shape(call, state, dict(experiment.data.spec()))


def _reason(error: Exception) -> str:
    """The message of an error, without addresses of documentation, and the user's own line that raised it."""
    if isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerArrayConversionError):
        text = "a value of the batch or of the model is used in `if`, int(), a shape or NumPy; use jax.numpy, jnp.where"
    else:
        text = re.sub(r"\s*\(?https?://\S+", "", str(error)).strip() or type(error).__name__
    place = place_of_error(error)
    return f"{text}{place and f' ({place})'}"
