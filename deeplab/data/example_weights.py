"""The same data with another weight of each training example."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Data, Example, Prepare
from deeplab.data.examples import Examples


@dataclasses.dataclass(frozen=True, eq=False)
class _Weighted:
    """A `prepare` that also multiplies the weight of each training example."""

    prepare: Prepare | None
    weights: Any

    def __call__(self, example: Example, key: jax.Array | None) -> Example:
        made = example if self.prepare is None else self.prepare(example, key)
        if key is None:
            return made
        return made | {"weight": made["weight"] * jnp.asarray(self.weights)[example["id"]]}


def is_weighted(data: Data) -> bool:
    """Whether training examples are weighted by their numbers.

    Example:
      >>> data = Examples({"train": {"x": jnp.ones((3, 2))}}, batch_size=3, epochs=1)
      >>> is_weighted(data), is_weighted(weighted(data, jnp.ones(3)))
      (False, True)
    """
    return isinstance(getattr(data, "prepare", None), _Weighted)


def weighted(data: Examples, weights: Any) -> Examples:
    """The same data with another weight of each training example; one of weight 0 is left out of the training.

    Order, batches and steps stay as they are, and evaluations, too. The weights may depend on an argument of the
    experiment that is traced: a sweep over it is then retraining on subsets, as one program.

    Args:
      data: Data.
      weights: Factor of the weight of each training example, by its `id`, [N]: of all of the split, whatever the
        `train_fraction`.

    Raises:
      UserError: not one weight for each training example; or the data mix examples, so that one that is left out would
        reach the others.

    Example:
      >>> data = Examples({"train": {"x": jnp.ones((3, 2))}, "test": {"x": jnp.ones((1, 2))}}, batch_size=3, epochs=1)
      >>> data = weighted(data, jnp.array([1.0, 0.0, 1.0]))
      >>> batch = data.fetch(data.open("train"), jnp.arange(3))
      >>> data.transform(batch, jax.random.key(0))["weight"].tolist(), data.transform(batch)["weight"].tolist()
      ([1.0, 0.0, 1.0], [1.0, 1.0, 1.0])
    """
    if data.mix is not None:
        raise UserError("the data mix examples, so that one of weight 0 would reach the others; leave out mix=")
    shape = (len(weights),) if isinstance(weights, list | tuple) else np.shape(weights)
    size = data.num_examples("train")
    if shape != (size,):  # an index out of range would be that of the last weight
        raise UserError(
            f"weights have shape {list(shape)}, expected [{size}], a weight for each example of the training split, "
            "whatever the train_fraction"
        )
    again = {"num_steps": None} if data.epochs is not None else {}  # steps follow from epochs, again
    return dataclasses.replace(data, prepare=_Weighted(data.prepare, weights), **again)
