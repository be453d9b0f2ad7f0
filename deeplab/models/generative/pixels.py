"""A network that reads an image's pixels in their order: each pixel's law is of those before it, row by row.

PixelCNN: van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders",
https://arxiv.org/abs/1606.05328: two stacks, of the rows above and of the row itself, so that nothing before a pixel is
out of sight.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "blocks": 1},
    "small": {"width": 32, "blocks": 6},
    # van den Oord et al. 2016, section 3: 20 layers; 128 maps for CIFAR-10.
    "2016": {"width": 128, "blocks": 20},
}

RULES = ((r"(above|before)\d+/conv/kernel", P(None, None, None, "model")),)  # [h, w, in, out]


@ranges.checked(width=ranges.COUNT, size=ranges.COUNT)
class MaskedConv(nn.Module):
    """A convolution that reads a part of its window.

    Args:
      width: Number of output channels.
      size: Height and width of the window, odd.
      above: Whether it reads rows above its own, and its own as `own` says; its own row alone otherwise.
      own: Whether it reads its own place: of `above` the whole own row, else the place itself.

    Example:
      >>> ones = {"params": {"conv": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.zeros(1)}}}
      >>> line = jnp.array([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1)
      >>> MaskedConv(1, 3, above=False, own=False).apply(ones, line).ravel().tolist()
      [0.0, 1.0, 2.0]
    """

    width: int
    size: int
    above: bool
    own: bool

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W D"]:
        middle = self.size // 2
        row, column = np.indices((self.size, self.size))
        reads = row < middle + self.own if self.above else (row == middle) & (column < middle + self.own)
        mask = jnp.asarray(reads[..., None, None] + np.zeros((1, 1, x.shape[-1], self.width)), x.dtype)
        return nn.Conv(self.width, (self.size, self.size), mask=mask, name="conv")(x)


class Gated(nn.Module):
    """tanh(a) sigmoid(b) of the two halves of the channels.

    Example:
      >>> Gated().apply({}, jnp.array([[[[100.0, 0.0]]]])).tolist()
      [[[[0.5]]]]
    """

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W D"]:
        a, b = jnp.split(x, 2, axis=-1)
        return jnp.tanh(a) * jax.nn.sigmoid(b)


@ranges.checked(levels=ranges.COUNT, width=ranges.COUNT, blocks=ranges.COUNT)
class PixelCNN(nn.Module):
    """Images of one channel to the logits of each pixel's level, given those before it.

    Args:
      levels: Number of levels K.
      width: Number of channels.
      blocks: Number of blocks of windows of 3, after a first one of 7.

    Raises:
      ValueError: Images of several channels.

    Example:
      >>> model = PixelCNN(levels=4, **VARIANTS["test"])
      >>> jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 5, 6, 1)))[0].shape
      (2, 5, 6, 1, 4)
    """

    rules = RULES

    levels: int
    width: int = 32
    blocks: int = 6

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 1"], train: bool = False) -> Float[Array, "B H W 1 K"]:
        del train
        if x.shape[-1] != 1:
            raise ValueError(f"images have {x.shape[-1]} channels, expected one; a PixelTransformer reads several")
        x = 2 * x - 1
        above = MaskedConv(self.width, 7, True, False, name="above0")(x)
        before = MaskedConv(self.width, 7, False, False, name="before0")(x) + self._linear(above, 1, "join0")
        for i in range(1, self.blocks + 1):
            rows = MaskedConv(2 * self.width, 3, True, True, name=f"above{i}")(above)
            if i < self.blocks:  # no later block reads it
                above = above + self._linear(Gated()(rows), 1, f"rows{i}")
            places = MaskedConv(2 * self.width, 3, False, True, name=f"before{i}")(before)
            places = places + self._linear(rows, 2, f"join{i}")
            before = before + self._linear(Gated()(places), 1, f"places{i}")
        return nn.Dense(self.levels, name="head")(nn.gelu(before))[..., None, :]

    def _linear(self, x: jax.Array, times: int, name: str) -> jax.Array:
        return nn.Dense(times * self.width, name=name)(x)
