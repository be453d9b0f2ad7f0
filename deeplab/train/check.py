"""Whether task, model and data fit together, asked before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.tasks.base import Loss
from deeplab.train.bind import bind
from deeplab.train.state import State


def check_task(experiment: Experiment, state: State, runtime: Runtime = Runtime()) -> None:
    """Traces the loss of a batch, without any computation, and checks what it returns.

    Args:
      experiment: Experiment to check.
      state: Its first state; shapes suffice.
      runtime: Precision of the model.

    Raises:
      UserError: The task reads a field that the batch lacks, or its loss is no `Loss` of a `Mean` and of metrics.

    Example:
      >>> from deeplab.train.initialize import init
      >>> from experiments.image_digits import experiment
      >>> check_task(experiment(), jax.eval_shape(lambda: init(experiment(), jax.random.key(0))))
    """
    task, spec = type(experiment.task).__name__, experiment.data.spec()
    fields = ", ".join(f"{name} {s.dtype}{list(s.shape)}" for name, s in spec.items())

    def loss(state: State, batch: Any) -> Any:
        return experiment.task.loss(bind(experiment, state, batch, runtime), batch, state.key)

    try:
        out = jax.eval_shape(loss, state, dict(spec))
    except KeyError as error:
        raise UserError(
            f"{task}.loss looks for {error}, which is not there; a batch of {type(experiment.data).__name__} holds "
            f"{fields}"
        ) from error
    expected = "Loss(loss, metrics, variables), with the loss as Mean.of(values, batch['weight'])"
    if not isinstance(out, Loss):
        raise UserError(f"{task}.loss returns {_described(out)}; expected {expected}")
    if not (hasattr(out.loss, "total") and hasattr(out.loss, "count")):
        raise UserError(f"the loss that {task}.loss returns is {_described(out.loss)}; expected {expected}")
    metrics: Any = out.metrics if isinstance(out.metrics, Mapping) else {"metrics": out.metrics}
    for name, metric in metrics.items():
        if not hasattr(metric, "compute"):
            raise UserError(
                f"{name!r} of {task}.loss is {_described(metric)}; expected metrics by name, such as "
                '{"mae": Mean.of(values, batch["weight"])}'
            )


def _described(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array {value.dtype}{list(value.shape)}"
    return f"a {type(value).__name__}"
