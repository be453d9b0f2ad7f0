"""All that is needed to go on."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from deeplab.optim import eval_params
from deeplab.scale import to_device_memory

TASK = "task"
"""The key of `State.params` below which a task keeps parameters of its own."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """The state of training, a pytree.

    Nothing else is needed to go on: the batches are a function of `step`, and so is all randomness,
    through `fold_in(key, step)`.

    Attributes:
      step: Steps taken, int32 scalar.
      params: Trained parameters: the model's, and at "task" the task's own, where it has any.
      variables: The model's other collections, such as `batch_stats`.
      opt_state: State of the optimizer; within a `Scaled` where the precision scales the loss.
      key: A typed key, the same throughout the run.
      task: State of the task's own, such as a teacher; `()` where it has none.
    """

    step: jax.Array
    params: Any
    variables: Any
    opt_state: Any
    key: jax.Array
    task: Any = ()


def split_params(params: Any) -> tuple[Any, Any]:
    """The parameters of the model, and those of the task.

    Example:
      >>> split_params({"dense": 1, "task": {"projector": 2}})
      ({'dense': 1}, {'projector': 2})
    """
    if not isinstance(params, dict) or TASK not in params:
        return params, {}
    return {name: tree for name, tree in params.items() if name != TASK}, params[TASK]


def eval_state(state: State) -> State:
    """The state that evaluations use: with the optimizer's evaluation weights, where it has any."""
    return dataclasses.replace(state, params=eval_params(to_device_memory(state.opt_state), state.params))
