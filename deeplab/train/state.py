"""All that is needed to go on."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.precision import cast, scaled
from deeplab.experiment import Experiment
from deeplab.optim import average_of
from deeplab.train import dropout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """The state of training, a pytree.

    Nothing else is needed to go on: the batches are a function of `step`, and so is all randomness,
    through `fold_in(key, step)`.

    Attributes:
      step: steps taken, int32 scalar.
      params: the model's trained parameters.
      variables: its other collections, such as `batch_stats`.
      opt_state: the optimizer's; within a `Scaled` where the precision has a factor for the loss.
      key: a typed key, the same throughout the run.
    """

    step: jax.Array
    params: Any
    variables: Any
    opt_state: Any
    key: jax.Array


def evaluated(state: State) -> State:
    """The state as evaluations see it: with the average of the parameters, where the optimizer keeps one."""
    return dataclasses.replace(state, params=average_of(state.opt_state, state.params))


def init(experiment: Experiment, key: jax.Array) -> State:
    """The state before the first step; pure, so `jax.eval_shape` gives its shapes and `vmap` a population.

    Args:
      experiment: what is to be trained.
      key: a typed key, `jax.random.key(seed)`.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> state = dl.init(experiment(), jax.random.key(0))
      >>> int(state.step)
      0
    """
    params_key, train_key = jax.random.split(key)
    blank = {name: jnp.zeros(s.shape, s.dtype) for name, s in experiment.data.spec().items()}
    with dropout.by_example(blank["id"]):
        variables = dict(experiment.model.init(params_key, *experiment.task.inputs(blank), train=False))
    params = cast(variables.pop("params", {}), experiment.precision.parameters)
    # Taps that a model sows while it is initialised are outputs, not state.
    variables = {name: tree for name, tree in variables.items() if name not in ("intermediates", "perturbations")}
    opt_state = scaled(experiment.optimizer.init(params), experiment.precision)
    return State(jnp.zeros((), jnp.int32), params, variables, opt_state, train_key)
