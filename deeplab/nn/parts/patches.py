"""A decoder of patches: from the states of those that an encoder has seen to the pixels of all."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.activations import gelu
from deeplab.nn.attention.cache import Reading
from deeplab.nn.attention.grouped import GroupedQueryAttention
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Plain
from deeplab.nn.parts.stack import Stack, stacked
from deeplab.nn.parts.wiring import PreNorm
from deeplab.nn.transformer import INIT


@ranges.checked(
    num_patches=ranges.COUNT, pixels=ranges.COUNT, num_layers=ranges.COUNT, num_heads=ranges.COUNT, width=ranges.COUNT
)
class PatchDecoder(nn.Module):
    """Layers over all patches, of which those that the encoder has not seen begin as one learned vector.

    Args:
      num_patches: N, number of patches of an image.
      pixels: Number of numbers of a patch, P P C.
      num_layers: Number of layers.
      num_heads: Number of heads of each.
      width: Width of the residual stream.
      special: Number of the encoder's states before those of patches.

    Example:
      >>> import jax, types
      >>> encoded = types.SimpleNamespace(states=jnp.ones((2, 3, 32)))  # a special token and two patches of each image
      >>> decoder, shown = PatchDecoder(num_patches=16, pixels=48), jnp.array([[0, 3], [1, 2]])
      >>> decoder.init_with_output(jax.random.key(0), encoded, shown)[0].shape
      (2, 16, 48)

    Source: He et al. 2021, https://arxiv.org/abs/2111.06377, section 3.
    """

    num_patches: int
    pixels: int
    num_layers: int = 1
    num_heads: int = 4
    width: int = 64
    special: int = 1

    @nn.compact
    def __call__(self, encoded: Any, shown: Int[Array, "B M"], train: bool = False) -> Float[Array, "B N P"]:
        B, N, D = len(shown), self.num_patches, self.width
        x = nn.Dense(D, kernel_init=INIT, name="embed")(encoded.states[:, self.special :])
        mask: Any = self.param("mask", INIT, (D,))
        x = jnp.broadcast_to(mask[None, None], (B, N, D)).at[jnp.arange(B)[:, None], shown].set(x)
        x = x + self.param("positions", INIT, (N, D))[None]
        attention = GroupedQueryAttention(
            self.num_heads, self.num_heads, causal=False, use_bias=True, out_bias=True, kernel_init=INIT, out_init=INIT
        )
        block = PreNorm(attention, Plain(4 * D, gelu), layer_norm(), layer_norm())
        x, _ = stacked(Stack(block, self.num_layers))(x, train, Reading(jnp.arange(N)), None)
        return nn.Dense(self.pixels, kernel_init=INIT, name="pixels")(layer_norm()(x))
