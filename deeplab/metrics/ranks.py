"""Rank of one target item among candidates, and the ranking metrics that depend on it alone.

All are per list and average exactly over lists. With one target, the ideal DCG is 1 and recall equals the hit rate.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def rank(scores: Float[Array, "B V"], target: Int[Array, " B"], candidates: Bool[Array, "B V"]) -> Int[Array, " B"]:
    """Rank of the target among the candidates and itself, from 1.

    Ties rank before the target, so that constant scores get the worst rank.

    Example:
      >>> rank(jnp.array([[0.3, 0.1, 0.2, 0.9]]), jnp.array([2]), jnp.array([[True, True, True, False]])).tolist()
      [2]
    """
    others, own = _others(scores, target, candidates)
    return 1 + jnp.sum(others & (scores >= own), axis=-1)


def auc(scores: Float[Array, "B V"], target: Int[Array, " B"], candidates: Bool[Array, "B V"]) -> Float[Array, " B"]:
    """Fraction of the other candidates that score less than the target; ties count half.

    Example:
      >>> auc(jnp.array([[0.3, 0.1, 0.2]]), jnp.array([2]), jnp.ones((1, 3), bool)).tolist()
      [0.5]

    Source: Rendle et al. 2009, https://arxiv.org/abs/1205.2618, section 3.3.
    """
    others, own = _others(scores, target, candidates)
    below = jnp.sum(others & (scores < own), axis=-1) + 0.5 * jnp.sum(others & (scores == own), axis=-1)
    return below / jnp.maximum(jnp.sum(others, axis=-1), 1)


def hit_rate(ranks: Int[Array, " B"], cutoff: int) -> Float[Array, " B"]:
    """Hit rate HR@K: 1 if the rank is at most `cutoff`, else 0."""
    return (ranks <= cutoff).astype(jnp.float32)


def ndcg(ranks: Int[Array, " B"], cutoff: int) -> Float[Array, " B"]:
    """NDCG@K: 1 / log2(1 + rank) if the rank is at most `cutoff`, else 0.

    Example:
      >>> ndcg(jnp.array([1, 3, 11]), 10).tolist()
      [1.0, 0.5, 0.0]

    Source: Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418.
    """
    return hit_rate(ranks, cutoff) / jnp.log2(1.0 + ranks)


def reciprocal(ranks: Int[Array, " B"]) -> Float[Array, " B"]:
    """Reciprocal rank, whose mean is the MRR."""
    return 1.0 / ranks


def _others(scores: Array, target: Array, candidates: Array) -> tuple[Array, Array]:
    """The candidates without the target, and the target's score, [B, 1]."""
    others = candidates & (jnp.arange(scores.shape[-1])[None] != target[:, None])
    return others, jnp.take_along_axis(scores, target[:, None], axis=-1)
