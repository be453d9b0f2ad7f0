"""Randomization of labels: a map of what a model has learnt changes when there is nothing to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.explain.chunks import mapped
from deeplab.explain.trust.randomization import rank_correlation
from deeplab.explain.trust.removal import seeded


class LabelTest(NamedTuple):
    """How alike the maps of models are.

    Attributes:
      shuffled: Rank correlation of the maps of a model and of one that was trained on shuffled labels, [S, B]; near 0
        is sane.
      seeds: That of the maps of two models of other seeds and the same labels, [S, B]: more than this no map has.
    """

    shuffled: Float[Array, "S B"]
    seeds: Float[Array, "S B"]


def randomized_labels(
    maps_of: Callable[[Array, Array], Float[Array, "B ..."]],
    labels: Array,
    *,
    key: Array,
    seeds: int = 4,
    chunk: int | None = None,
) -> LabelTest:
    """The rank correlation of a method's maps with those of models which were trained on shuffled labels.

    A model of shuffled labels knows its training examples by heart and nothing else. A map that stays as it was tells
    the input or the architecture. All models are members of one program; a pair has one seed, and so one start.

    Args:
      maps_of: Function `(labels, key)` to maps [B, ...]: it trains a model from the key on these labels of the training
        examples, and explains some examples by it, the same score whatever the labels.
      labels: Labels of the training examples, [N, ...].
      key: Key of the trainings and of the orders.
      seeds: Number of models of each kind, two at least.
      chunk: Number of models at once; by their size when None. On a CPU, 1 is faster for convolutions.

    Raises:
      UserError: there is one seed.

    Example:
      >>> edges = lambda labels, key: jnp.arange(10.0).reshape(2, 5)  # a map that does not look at the model
      >>> randomized_labels(edges, jnp.arange(4) % 2, key=jax.random.key(0), seeds=2).shuffled.round(3).tolist()
      [[1.0, 1.0], [1.0, 1.0]]

    Source: Adebayo et al. 2018, https://arxiv.org/abs/1810.03292 (section 4.2).
    """
    starts, orders = (seeded(part, seeds) for part in jax.random.split(key))
    labels = jnp.asarray(labels)
    given = jnp.stack([labels] * seeds + [jax.random.permutation(order, labels) for order in orders])
    maps = mapped(lambda row: maps_of(*row), (given, jnp.tile(starts, 2)), chunk)
    true, wrong = maps[:seeds], maps[seeds:]
    compare = jax.vmap(rank_correlation)
    return LabelTest(compare(true, wrong), compare(true, jnp.roll(true, 1, axis=0)))
