"""Sequences of several lengths in one array."""

from __future__ import annotations

import jax
import jax.numpy as jnp


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
