"""The model with its parameters bound: what a task is given."""

from __future__ import annotations

from typing import Any

import jax

from deeplab.core.precision import cast
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.scale import activations
from deeplab.tasks.base import Apply
from deeplab.train import dropout


def bind(experiment: Experiment, params: Any, variables: Any, batch: Batch) -> Apply:
    """The model as a function of its inputs alone: what a `Task` is given.

    Here, outside the model, is what holds for all of them: dropout by example, the dtypes of the experiment's
    precision, and on a mesh every layer's output beside its examples.
    """
    precision, ids = experiment.precision, batch["id"]

    def apply(
        *inputs: Any, train: bool = False, key: jax.Array | None = None, method: str | None = None
    ) -> tuple[Any, Any]:
        bound = {"params": cast(params, precision.computation), **variables}
        inputs = cast(inputs, precision.computation)
        rngs = {} if key is None else {"dropout": key}
        with dropout.by_example(ids), activations.by_example(len(ids)):
            if not train:
                outputs = experiment.model.apply(bound, *inputs, train=False, method=method)
                return cast(outputs, precision.reductions), variables
            outputs, updated = experiment.model.apply(
                bound, *inputs, train=True, rngs=rngs, mutable=list(variables), method=method
            )
        return cast(outputs, precision.reductions), {**variables, **updated}

    return apply
