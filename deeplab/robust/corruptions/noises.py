"""Noise of each pixel and channel: Gaussian, shot, impulse and speckle noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.robust.corruptions.filters import Corruption, Image, clipped


@ranges.checked(std=ranges.NATURAL)
def gaussian_noise(std: float) -> Corruption:
    """x + std N(0, 1).

    Example:
      >>> gaussian_noise(0.1)(jax.random.key(0), jnp.full((8, 8, 3), 0.5)).shape
      (8, 8, 3)
    """
    return lambda key, image: clipped(image + std * jax.random.normal(key, image.shape))


@ranges.checked(photons=ranges.POSITIVE)
def shot_noise(photons: float) -> Corruption:
    """Poisson(x photons) / photons: the noise of counted light, `photons` where the image is white.

    Example:
      >>> shot_noise(10.0)(jax.random.key(0), jnp.zeros((8, 8, 3))).max().item()  # no light, no noise
      0.0
    """
    return lambda key, image: clipped(jax.random.poisson(key, photons * image) / photons)


@ranges.checked(share=ranges.FRACTION)
def impulse_noise(share: float) -> Corruption:
    """Sets a share of the values to 0 or 1, with equal probability.

    Example:
      >>> impulse_noise(1.0)(jax.random.key(0), jnp.full((8, 8, 3), 0.5)).min().item()
      0.0
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        drawn = jax.random.uniform(key, image.shape)
        return jnp.where(drawn < share / 2, 0.0, jnp.where(drawn < share, 1.0, image))

    return corrupt


@ranges.checked(std=ranges.NATURAL)
def speckle_noise(std: float) -> Corruption:
    """x (1 + std N(0, 1)).

    Example:
      >>> speckle_noise(0.1)(jax.random.key(0), jnp.zeros((8, 8, 3))).max().item()  # black stays black
      0.0
    """
    return lambda key, image: clipped(image * (1 + std * jax.random.normal(key, image.shape)))
