"""The training state, which is all that is needed to resume a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from deeplab.core.printable import as_tree
from deeplab.optim import eval_params
from deeplab.scale import to_device_memory

TASK = "task"
"""Key of `State.params` that holds the task's own parameters."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """The training state, a pytree.

    Nothing else is needed to resume: the batches are a function of `step`, and so is all randomness, through
    `fold_in(key, step)`.

    Attributes:
      step: Number of steps taken, int32 scalar.
      params: Trained parameters of the model, and under "task" those of the task, if it has any.
      variables: Other collections of the model, such as `batch_stats`.
      opt_state: Optimizer state, wrapped in `Scaled` if the precision scales the loss.
      key: Typed key, the same throughout the run.
      task: State of the task, such as a teacher; `()` if it has none.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> state = dl.init(experiment(width=4), jax.random.key(0))
      >>> int(state.step), sorted(state.variables)
      (0, ['batch_stats'])
    """

    step: jax.Array
    params: Any
    variables: Any
    opt_state: Any
    key: jax.Array
    task: Any = ()

    _repr_html_ = as_tree


def split_params(params: Any) -> tuple[Any, Any]:
    """Splits parameters into those of the model and those of the task.

    Example:
      >>> split_params({"dense": 1, "task": {"projector": 2}})
      ({'dense': 1}, {'projector': 2})
    """
    if not isinstance(params, dict) or TASK not in params:
        return params, {}
    return {name: tree for name, tree in params.items() if name != TASK}, params[TASK]


def eval_state(state: State) -> State:
    """State for evaluations, with the evaluation weights of the optimizer if it has any."""
    return dataclasses.replace(state, params=eval_params(to_device_memory(state.opt_state), state.params))
