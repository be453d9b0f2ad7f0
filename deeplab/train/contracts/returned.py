"""What the methods of a task return, as shapes: a `Loss`, metrics by name, predictions by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeplab.core.errors import UserError
from deeplab.experiment import Experiment
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.outputs import described
from deeplab.tasks.contract.task import Loss
from deeplab.train.state import State

_LOSS = "Loss(loss, metrics, variables), with the loss as Mean.of(values, batch['weight'])"


def check_loss(experiment: Experiment, state: State, out: Any) -> None:
    task = type(experiment.task).__name__
    if not isinstance(out, Loss):
        raise UserError(f"{task}.loss returns {described(out)}; expected {_LOSS}")
    if not (hasattr(out.loss, "total") and hasattr(out.loss, "count")):
        raise UserError(f"the loss that {task}.loss returns is {described(out.loss)}; expected {_LOSS}")
    metrics = out.metrics
    check_metrics(f"{task}.loss", {"loss": out.loss, **metrics} if isinstance(metrics, Mapping) else metrics)
    given = out.variables if isinstance(out.variables, Mapping) else None
    kept = given and {name: given[name] for name in state.variables if name in given}  # what a model sows is no state
    if given is None or described(kept) != described(state.variables):
        raise UserError(
            f"the variables that {task}.loss returns are {described(out.variables)}, expected those of the model, "
            f"{described(state.variables)}; return what it gave: outputs, variables = apply(*self.inputs(batch), "
            "train=True, key=key)"
        )


def check_metrics(whose: str, metrics: Any) -> None:
    expected = 'expected metrics by name, such as {"mae": Mean.of(values, batch["weight"])}'
    if not isinstance(metrics, Mapping):
        raise UserError(f"'metrics' of {whose} is {described(metrics)}; {expected}")
    for name, metric in metrics.items():
        if not hasattr(metric, "compute"):
            raise UserError(f"{name!r} of {whose} is {described(metric)}; {expected}")
        if isinstance(metric, Mean) and (metric.total.shape or metric.count.shape):
            raise UserError(
                f"{name!r} of {whose} is a mean of {described(metric.total)} by {described(metric.count)}, expected "
                f"two scalars, as Mean.of(values, weight) gives; {expected}"
            )


def check_predictions(experiment: Experiment, predictions: Any) -> None:
    task, size = type(experiment.task).__name__, experiment.data.batch_size
    if not isinstance(predictions, Mapping):
        raise UserError(
            f"{task}.predict returns {described(predictions)}; expected arrays [B, ...] by name, such as "
            '{"prediction": outputs}'
        )
    for name, array in predictions.items():
        if getattr(array, "shape", ())[:1] != (size,):
            raise UserError(
                f"{name!r} of {task}.predict is {described(array)}, expected an array [{size}, ...]: a row for each "
                "example of the batch"
            )
