"""Normalization: the last step between an image in [0, 1] and the model, kept as a value beside the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Normalize = Callable[[jax.Array], jax.Array]
"""`x -> x`, pure: what is applied to the model's first input, [B, ...]."""


@dataclasses.dataclass(frozen=True)
class Standardize:
    """(x - mean) / std along the last axis, in float32, or in the dtype of x where that is wider.

    Args:
      mean: Mean of each channel of images in [0, 1], or one for all channels.
      std: Standard deviation of each channel, or one for all channels.

    Example:
      >>> Standardize(mean=(0.5,), std=(0.25,))(jnp.ones((1, 2, 2, 3))).max()
      Array(2., dtype=float32)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: jax.Array) -> jax.Array:
        last = (*[1] * (x.ndim - 1), -1)
        mean, std = (np.asarray(values, np.float32).reshape(last) for values in (self.mean, self.std))
        return (jnp.asarray(x) - mean) / std


CENTERED = Standardize(mean=(0.5,), std=(0.25,))
"""From [0, 1] to [-2, 2]: for images whose mean and standard deviation are not known."""
