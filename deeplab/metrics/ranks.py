"""Where one wanted item stands in a list, and the metrics that follow from it alone.

All are per list and average exactly over lists; with one wanted item the ideal DCG is 1 and recall is the hit rate.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def rank(scores: Float[Array, "B V"], target: Int[Array, " B"], offered: Bool[Array, "B V"]) -> Int[Array, " B"]:
    """The place of the target among the items that are offered (and itself), from 1.

    Whatever scores as much stands before it: who scores all items alike ranks none.

    Example:
      >>> rank(jnp.array([[0.3, 0.1, 0.2, 0.9]]), jnp.array([2]), jnp.array([[True, True, True, False]])).tolist()
      [2]
    """
    others, own = _others(scores, target, offered)
    return 1 + jnp.sum(others & (scores >= own), axis=-1)


def auc(scores: Float[Array, "B V"], target: Int[Array, " B"], offered: Bool[Array, "B V"]) -> Float[Array, " B"]:
    """The share of the other offered items that score less than the target; a tie counts half.

    Source: Rendle et al. 2009, https://arxiv.org/abs/1205.2618, section 3.3.

    Example:
      >>> auc(jnp.array([[0.3, 0.1, 0.2]]), jnp.array([2]), jnp.ones((1, 3), bool)).tolist()
      [0.5]
    """
    others, own = _others(scores, target, offered)
    below = jnp.sum(others & (scores < own), axis=-1) + 0.5 * jnp.sum(others & (scores == own), axis=-1)
    return below / jnp.maximum(jnp.sum(others, axis=-1), 1)


def hit_rate(ranks: Int[Array, " B"], cutoff: int) -> Float[Array, " B"]:
    """1 where the target is among the first `cutoff`: HR@K."""
    return (ranks <= cutoff).astype(jnp.float32)


def ndcg(ranks: Int[Array, " B"], cutoff: int) -> Float[Array, " B"]:
    """1 / log2(1 + rank) within the cutoff, else 0: NDCG@K (Järvelin and Kekäläinen 2002).

    Example:
      >>> ndcg(jnp.array([1, 3, 11]), 10).tolist()
      [1.0, 0.5, 0.0]
    """
    return hit_rate(ranks, cutoff) / jnp.log2(1.0 + ranks)


def reciprocal(ranks: Int[Array, " B"]) -> Float[Array, " B"]:
    """1 / rank; its mean is the MRR."""
    return 1.0 / ranks


def _others(scores: Array, target: Array, offered: Array) -> tuple[Array, Array]:
    """The offered items without the target, and the target's score, [B, 1]."""
    others = offered & (jnp.arange(scores.shape[-1])[None] != target[:, None])
    return others, jnp.take_along_axis(scores, target[:, None], axis=-1)
