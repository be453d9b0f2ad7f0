"""Rank of one target item among candidates, and the ranking metrics that depend on it alone.

All are per list and average exactly over lists. With one target, the ideal DCG is 1 and recall equals the hit rate.
Items that score like the target rank before it. Where the target or a candidate scores NaN, or the target is no item,
all are NaN.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Real

from deeplab.metrics.base import defined


def rank(scores: Float[Array, "B V"], target: Int[Array, " B"], candidates: Bool[Array, "B V"]) -> Float[Array, " B"]:
    """Rank of the target among the candidates and itself, from 1; NaN where one of their scores is NaN.

    Ties rank before the target, so that constant scores get the worst rank.

    Example:
      >>> rank(jnp.array([[0.3, 0.1, 0.2, 0.9]]), jnp.array([2]), jnp.array([[True, True, True, False]])).tolist()
      [2.0]
    """
    others, own, listed = _others(scores, target, candidates)
    return defined(1.0 + jnp.sum(others & (scores >= own), axis=-1), listed)


def auc(scores: Float[Array, "B V"], target: Int[Array, " B"], candidates: Bool[Array, "B V"]) -> Float[Array, " B"]:
    """Fraction of the other candidates that score less than the target; ties count half, NaN if there are no others.

    Example:
      >>> auc(jnp.array([[0.3, 0.1, 0.2]]), jnp.array([2]), jnp.ones((1, 3), bool)).tolist()
      [0.5]

    Source: Rendle et al. 2009, https://arxiv.org/abs/1205.2618, section 3.3.
    """
    others, own, listed = _others(scores, target, candidates)
    below = jnp.sum(others & (scores < own), axis=-1) + 0.5 * jnp.sum(others & (scores == own), axis=-1)
    return defined(below / jnp.sum(others, axis=-1), listed)


def hit_rate(ranks: Real[Array, " B"], cutoff: int) -> Float[Array, " B"]:
    """Hit rate HR@K: 1 if the rank is at most `cutoff`, else 0; a list of fewer than K items is one hit.

    Example:
      >>> hit_rate(jnp.array([1.0, 10.0, 11.0, jnp.nan]), 10).tolist()
      [1.0, 1.0, 0.0, nan]
    """
    return defined((ranks <= cutoff).astype(jnp.float32), ranks[:, None])


def ndcg(ranks: Real[Array, " B"], cutoff: int) -> Float[Array, " B"]:
    """NDCG@K: 1 / log2(1 + rank) if the rank is at most `cutoff`, else 0.

    Example:
      >>> ndcg(jnp.array([1.0, 3.0, 11.0]), 10).tolist()
      [1.0, 0.5, 0.0]

    Source: Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418.
    """
    return hit_rate(ranks, cutoff) / jnp.log2(1.0 + ranks)


def reciprocal(ranks: Real[Array, " B"]) -> Float[Array, " B"]:
    """Reciprocal rank, whose mean is the MRR.

    Example:
      >>> reciprocal(jnp.array([1.0, 2.0, 4.0])).tolist()
      [1.0, 0.5, 0.25]
    """
    return 1.0 / ranks


def _others(scores: Array, target: Array, candidates: Array) -> tuple[Array, Array, Array]:
    """The candidates without the target, the target's score [B, 1], and the scores of both, 0 for other items.

    A target that is no item has a score of NaN.
    """
    own = jnp.arange(scores.shape[-1])[None] == target[:, None]
    listed = jnp.where(own.any(axis=-1, keepdims=True), jnp.where(candidates | own, scores, 0), jnp.nan)
    return candidates & ~own, jnp.take_along_axis(scores, target[:, None], axis=-1), listed
