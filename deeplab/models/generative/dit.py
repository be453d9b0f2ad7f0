"""The diffusion transformer: a vision transformer whose norms are steered by time and class.

Peebles and Xie 2023, "Scalable diffusion models with transformers", https://arxiv.org/abs/2212.09748.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.models.generative.conditioning import NEARLY_ZERO, Condition
from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.inputs import PatchEmbedding
from deeplab.nn.transformer import FeedForward, sinusoids
from deeplab.nn.upsampling import pixels_of

# Peebles and Xie 2023, table 1, with patches of 2.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 16, "patch": 4},
    "tiny": {"num_layers": 4, "num_heads": 4, "width": 128, "patch": 4},
    "s2": {"num_layers": 12, "num_heads": 6, "width": 384},
    "b2": {"num_layers": 12, "num_heads": 12, "width": 768},
    "l2": {"num_layers": 24, "num_heads": 16, "width": 1024},
    "xl2": {"num_layers": 28, "num_heads": 16, "width": 1152},
}

RULES = (
    (r"(qkv|up)/kernel", P(None, "model")),
    (r"(out|down)/kernel", P("model", None)),
)


@ranges.checked(num_layers=ranges.COUNT, num_heads=ranges.COUNT, width=ranges.COUNT, patch=ranges.COUNT)
class DiT(nn.Module):
    """Noisy images and their times to what is predicted of them, of the image's shape.

    Args:
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D, a multiple of 4.
      patch: Height and width of a patch, which divides the image's.
      num_classes: Number of classes K of a model that is told them; class K is "not told".
      tempo: Radians of the fastest wave of the time; see `Condition`.

    Raises:
      ValueError: Patches that do not divide the image.

    Example:
      >>> model = DiT(**VARIANTS["test"], num_classes=10)
      >>> given = jnp.ones((2, 8, 12, 1)), jnp.array([0.1, 0.9]), jnp.array([3, 10])
      >>> jax.jit(model.init_with_output)(jax.random.key(0), *given)[0].shape
      (2, 8, 12, 1)
    """

    rules = RULES
    exact_inputs = (1,)

    num_layers: int = 12
    num_heads: int = 6
    width: int = 384
    patch: int = 2
    num_classes: int | None = None
    tempo: float = 1000.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        time: Float[Array, "B ..."],
        label: Int[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B H W C"]:
        """What is predicted.

        Args:
          x: Noisy images.
          time: A time of each, or several.
          label: Classes; not told when None.
          train: Whether the call is part of training, which changes nothing.
        """
        B, H, W, C = x.shape
        p = self.patch
        steer = Condition(self.width, self.num_classes, self.tempo, name="condition")(time, label).astype(x.dtype)
        h, _ = PatchEmbedding(p, self.width, None, (), name="patches")(x)
        h = h + jnp.asarray(grid_waves(H // p, W // p, self.width), h.dtype)[None]
        for i in range(self.num_layers):
            h = SteeredBlock(self.num_heads, name=f"block{i + 1}")(h, steer, train)
        scale, shift = _parts(nn.Dense(2 * self.width, kernel_init=NEARLY_ZERO, name="steer")(steer), 2)
        h = layer_norm(1e-6, affine=False)(h) * (1 + scale) + shift
        h = nn.Dense(p * p * C, kernel_init=NEARLY_ZERO, name="head")(h)
        return pixels_of(h.reshape(B, H // p, W // p, p * p * C), p)


@ranges.checked(num_heads=ranges.COUNT)
class SteeredBlock(nn.Module):
    """x + gate f(norm(x) (1 + scale) + shift), for attention and for a feed-forward layer; all six are of a vector.

    Args:
      num_heads: Number of attention heads.

    Example:
      >>> block, x, steer = SteeredBlock(num_heads=2), jnp.ones((2, 5, 8)), jnp.zeros((2, 8))
      >>> y, _ = jax.jit(lambda key: block.init_with_output(key, x, steer, False))(jax.random.key(0))
      >>> bool((y == x).all())  # a vector of zeros closes the gates before training
      True
    """

    num_heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], steer: Float[Array, "B D"], train: bool) -> Float[Array, "B T D"]:
        steered = nn.Dense(6 * x.shape[-1], kernel_init=NEARLY_ZERO, name="steer")(steer)
        scale1, shift1, gate1, scale2, shift2, gate2 = _parts(steered, 6)
        y = layer_norm(1e-6, affine=False)(x) * (1 + scale1) + shift1
        x = x + gate1 * SelfAttention(self.num_heads, name="attention")(y, train)
        y = layer_norm(1e-6, affine=False)(x) * (1 + scale2) + shift2
        return x + gate2 * FeedForward(name="feed_forward")(y)


def _parts(steered: Float[Array, "B N"], number: int) -> list[jax.Array]:
    return jnp.split(steered[:, None], number, axis=-1)


def grid_waves(height: int, width: int, features: int) -> np.ndarray:
    """Waves for the places of a grid, row by row, [H W, D]: half for the row, half for the column.

    Example:
      >>> waves = grid_waves(2, 3, 8)
      >>> waves.shape, bool((waves[0, :4] == waves[2, :4]).all()), bool((waves[0, 4:] == waves[3, 4:]).all())
      ((6, 8), True, True)
    """
    row, column = np.divmod(np.arange(height * width), width)
    return np.asarray(np.concatenate([sinusoids(row, features // 2), sinusoids(column, features // 2)], axis=-1))
