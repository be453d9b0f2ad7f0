"""The training state, which is all that is needed to resume a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.printable import as_tree
from deeplab.data.base import NO_EXAMPLE
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
    """State for evaluations, with the evaluation weights of the optimizer if it has any.

    Example:
      >>> import optax
      >>> from deeplab.optim import with_ema
      >>> averaged = with_ema(optax.sgd(1.0)).init({"w": jnp.zeros(())})
      >>> state = State(jnp.array(0), {"w": jnp.ones(())}, {}, averaged, jax.random.key(0))
      >>> eval_state(state).params["w"].item()
      0.0
    """
    return dataclasses.replace(state, params=eval_params(to_device_memory(state.opt_state), state.params))


def eval_key(state: State) -> jax.Array:
    """Key of all randomness in evaluations; the same for the whole run, so that evaluations can be compared.

    Example:
      >>> first, later = (State(jnp.array(step), {}, {}, (), jax.random.key(0)) for step in (0, 100))
      >>> bool(eval_key(first) == eval_key(later)), bool(eval_key(first) == first.key)
      (True, False)
    """
    return jax.random.fold_in(state.key, NO_EXAMPLE)


def choose(condition: jax.Array, new: State, old: State) -> State:
    """Selects `new` where the condition holds, else `old`; both are states of the same run.

    Example:
      >>> new, old = (State(jnp.array(step), {}, {}, (), jax.random.key(0)) for step in (8, 7))
      >>> choose(jnp.array(False), new, old).step.item()
      7
    """

    def where(a: jax.Array, b: jax.Array) -> jax.Array:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return a  # the key never changes
        return jnp.where(condition, a, b)

    return jax.tree.map(where, new, old)
