"""Maps that know nothing of the model: what a method has to be better than."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def random_map(x: Array, key: Array) -> Array:
    """Uniform noise in the shape of the inputs."""
    return jax.random.uniform(key, x.shape)


def edge_map(x: Float[Array, "B ..."], baseline: Any = 0.0) -> Float[Array, "B ..."]:
    """The size of the gradient of the inputs along their axes in space or time; of a table, that of x - baseline.

    Example:
      >>> edge_map(jnp.array([[[0.0], [0.0], [2.0], [2.0]]]))[0, :, 0].tolist()
      [0.0, 1.0, 1.0, 0.0]
    """
    if x.ndim < 3:
        return jnp.abs(x - jnp.asarray(baseline, x.dtype))
    slopes = [_slope(x, axis) for axis in range(1, x.ndim - 1)]
    return jnp.sqrt(sum(jnp.square(slope) for slope in slopes))


def _slope(x: Array, axis: int) -> Array:
    ends = [(0, 0)] * x.ndim
    ends[axis] = (1, 1)
    padded, size = jnp.pad(x, ends, mode="edge"), x.shape[axis]
    after, before = (jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in (2, 0))
    return (after - before) / 2
