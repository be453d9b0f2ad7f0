"""Masks for sequences of different lengths in one array."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def inside(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """True at the positions within each example's length: [B, T, 1, ...], with the rank of `x`.

    Example:
      >>> inside(jnp.ones((2, 3, 1)), jnp.array([3, 1]))[..., 0].tolist()
      [[True, True, True], [True, False, False]]
    """
    mask = jnp.arange(x.shape[1])[None] < lengths[:, None]
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))


def zero_outside(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """`x` [B, T, ...] with zeros at the positions beyond each example's length.

    Example:
      >>> zero_outside(jnp.ones((2, 3)), jnp.array([3, 1])).tolist()
      [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return jnp.where(inside(x, lengths), x, 0)


def segment_positions(segment_ids: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """The position of each token within its own segment, counted from 0.

    Args:
      segment_ids: Segment of each token, 1, 2, ...; 0 for padding. The tokens of a segment are adjacent.

    Example:
      >>> segment_positions(jnp.array([[1, 1, 2, 2, 2, 0]])).tolist()
      [[0, 1, 0, 1, 2, 0]]
    """
    position = jnp.arange(segment_ids.shape[1])[None]
    begins = jnp.concatenate([jnp.ones_like(segment_ids[:, :1]), segment_ids[:, 1:] - segment_ids[:, :-1]], axis=1) != 0
    return position - jax.lax.cummax(jnp.where(begins, position, 0), axis=1)


def same_segment_mask(query_ids: Int[Array, "B T"], key_ids: Int[Array, "B S"]) -> Bool[Array, "B 1 T S"]:
    """True where a query and a key are of the same segment, so that sequences that share a row stay separate.

    Example:
      >>> same_segment_mask(jnp.array([[1, 2]]), jnp.array([[1, 1, 2]])).astype(int).tolist()
      [[[[1, 1, 0], [0, 0, 1]]]]
    """
    return query_ids[:, None, :, None] == key_ids[:, None, None, :]


def causal_mask(num_queries: int, num_keys: int, start: int | jax.Array = 0) -> Bool[Array, "T S"]:
    """True where the query at position start + t may attend to key s: s <= start + t.

    Example:
      >>> causal_mask(2, 3, start=1).astype(int).tolist()
      [[1, 1, 0], [1, 1, 1]]
    """
    return jnp.arange(num_keys)[None, :] <= start + jnp.arange(num_queries)[:, None]
