"""The loss of each example, as a function of the parameters and as a measurement of a state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.metrics.base import Metrics
from deeplab.train.bind import bind
from deeplab.train.state import State, eval_key, eval_state
from deeplab.train.step import prepared


def make_losses(
    experiment: Experiment, state: State, runtime: Runtime = Runtime()
) -> Callable[[Any, Batch], jax.Array]:
    """Makes the pure function `(params, raw batch) -> losses [B]` that `deeplab.explain` differentiates.

    The loss is the task's, summed over the parts of an example and times its weight, of a model that evaluates: without
    dropout or augmentation, and with the running statistics of batch norms. Each example is a batch of its own, so that
    tasks which compare the examples of a batch have no such loss.

    Args:
      experiment: Experiment of the state.
      state: State of the training; all but its parameters is held. Those of an evaluation, such as averaged ones, are
        `eval_state(state).params`.
      runtime: Precision.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> exp = experiment(width=4)
      >>> state = dl.init(exp, jax.random.key(0))
      >>> make_losses(exp, state)(state.params, next(exp.data.batches("test"))).shape
      (128,)
    """
    state = eval_state(state)

    def losses(params: Any, batch: Batch) -> jax.Array:
        size = len(next(iter(batch.values())))
        numbered = {"id": jnp.arange(size, dtype=jnp.int32), "weight": jnp.ones(size)}
        batch = prepared(experiment.data, numbered | batch)

        def of_one(example: Batch) -> jax.Array:
            one = jax.tree.map(lambda x: x[None], example)
            apply = bind(experiment, state, one, runtime, params).evaluating()
            return experiment.task.loss(apply, one, eval_key(state)).loss.total

        return jax.vmap(of_one)(batch)

    return losses


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ByExample:
    """A value of each example of a split, [N] by `id`; of examples that are not in a batch it is 0 there.

    Example:
      >>> (ByExample(jnp.array([0.5, 0.0])) + ByExample(jnp.array([0.0, 2.0]))).compute()
      [0.5, 2.0]
    """

    values: Any

    def __add__(self, other: ByExample) -> ByExample:
        return type(self)(self.values + other.values)

    def compute(self) -> list[float]:
        """The values, to six digits: a row of a study holds them as text."""
        return [float(f"{value:.6g}") for value in np.asarray(self.values)]


def losses_by_example(experiment: Experiment, runtime: Runtime = Runtime()) -> Callable[[State, Batch], Metrics]:
    """Makes the probe `losses`, the loss of each example of the split that the experiment evaluates on."""
    size = experiment.data.num_examples(experiment.data.eval_split)

    def probe(state: State, batch: Batch) -> Metrics:
        losses = make_losses(experiment, state, runtime)(eval_state(state).params, batch)
        return {"losses": ByExample(jnp.zeros(size).at[batch["id"]].add(losses))}

    return probe
