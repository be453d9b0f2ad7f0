"""Sequences of several lengths in one array."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def inside(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """True within an example's length; [B, T, 1, ...], of as many axes as x.

    Example:
      >>> inside(jnp.ones((2, 3, 1)), jnp.array([3, 1]))[..., 0].tolist()
      [[True, True, True], [True, False, False]]
    """
    mask = jnp.arange(x.shape[1])[None] < lengths[:, None]
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))


def zero_outside(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """x [B, T, ...], 0 from each example's length on."""
    return jnp.where(inside(x, lengths), x, 0)


def places(segments: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """The place of each token within its own sequence, from 0 on, where several share a row.

    Args:
      segments: the number of the sequence that a token is of, 1, 2, ...; 0 where there is none.

    Example:
      >>> places(jnp.array([[1, 1, 2, 2, 2, 0]])).tolist()
      [[0, 1, 0, 1, 2, 0]]
    """
    place = jnp.arange(segments.shape[1])[None]
    begins = jnp.concatenate([jnp.ones_like(segments[:, :1]), segments[:, 1:] - segments[:, :-1]], axis=1) != 0
    return place - jax.lax.cummax(jnp.where(begins, place, 0), axis=1)


def together(a: Int[Array, "B T"], b: Int[Array, "B S"]) -> Bool[Array, "B 1 T S"]:
    """True where two tokens are of the same sequence: the mask with which sequences that share a row do not meet.

    Example:
      >>> together(jnp.array([[1, 2]]), jnp.array([[1, 1, 2]])).astype(int).tolist()
      [[[[1, 1, 0], [0, 0, 1]]]]
    """
    return a[:, None, :, None] == b[:, None, None, :]
