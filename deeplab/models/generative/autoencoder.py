"""Autoencoders whose code has a law: two multilayer perceptrons.

Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; the sizes: Burda et al. 2016, https://arxiv.org/abs/1509.00519.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.layout import IN_TURN

# Burda et al. 2016, section 5, with one stochastic layer; "wide" is that of Kingma and Welling 2014, section 5.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"latents": 4, "hidden": (16, 16)},
    "iwae": {"latents": 50, "hidden": (200, 200)},
    "wide": {"latents": 50, "hidden": (500,)},
}

RULES = IN_TURN


class Perceptron(nn.Module):
    """Hidden layers and a linear one, [B, ...] -> [B, size].

    Args:
      size: Number of outputs.
      hidden: Widths of the hidden layers.
      activation: Elementwise activation.

    Example:
      >>> images = jnp.ones((2, 4, 4, 1))
      >>> Perceptron(3, (8,), nn.gelu).init_with_output(jax.random.key(0), images)[0].shape
      (2, 3)
    """

    size: int
    hidden: Sequence[int]
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."]) -> Float[Array, "B K"]:
        x = x.reshape(len(x), -1)
        for i, width in enumerate(self.hidden, start=1):
            x = self.activation(nn.Dense(width, name=f"hidden{i}")(x))
        return nn.Dense(self.size, name="out")(x)


@ranges.checked(shape=ranges.COUNT, latents=ranges.COUNT, hidden=ranges.COUNT)
class GaussianAutoencoder(nn.Module):
    """q(z | x), normal and of independent components, and the logits of p(x | z).

    Besides `__call__` there are its halves, `encode` and `decode`.

    Args:
      shape: (H, W, C) of an image.
      latents: D, number of components of z.
      hidden: Widths of the encoder's hidden layers; the decoder's are the same backwards.
      activation: Elementwise activation.

    Example:
      >>> model = GaussianAutoencoder((8, 8, 1), **VARIANTS["test"])
      >>> logits, mean, log_variance = model.init_with_output(jax.random.key(0), jnp.ones((2, 8, 8, 1)))[0]
      >>> logits.shape, mean.shape, log_variance.shape
      ((2, 8, 8, 1), (2, 4), (2, 4))
    """

    rules = RULES

    shape: Sequence[int]
    latents: int = 50
    hidden: Sequence[int] = (200, 200)
    activation: Callable[[jax.Array], jax.Array] = nn.gelu

    def setup(self) -> None:
        self.encoder = Perceptron(2 * self.latents, self.hidden, self.activation)
        self.decoder = Perceptron(math.prod(self.shape), tuple(reversed(self.hidden)), self.activation)

    def encode(self, x: Float[Array, "B H W C"], train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Mean and logarithm of the variance of each component, [B, D]."""
        del train
        mean, log_variance = jnp.split(self.encoder(x), 2, axis=-1)
        return mean, log_variance

    def decode(self, z: Float[Array, "B D"], train: bool = False) -> Float[Array, "B H W C"]:
        """Logits of the pixels."""
        del train
        return self.decoder(z).reshape(len(z), *self.shape)

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The logits from the mean code, and the code's mean and logarithm of the variance."""
        mean, log_variance = self.encode(x, train)
        return self.decode(mean, train), mean, log_variance
