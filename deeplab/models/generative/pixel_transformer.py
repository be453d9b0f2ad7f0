"""A transformer over the pixels of an image, in their order.

Chen et al. 2020, "Generative pretraining from pixels".
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models.text.decoders import gpt

RULES = gpt.RULES


def PixelTransformer(levels: int, num_layers: int = 4, num_heads: int = 4, width: int = 128) -> PixelSequence:
    """Images to the logits of each value's level, given those before it: a `GPT` over the values in their order.

    Args:
      levels: Number of levels K.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D.

    Example:
      >>> import jax
      >>> model = PixelTransformer(4, num_layers=1, num_heads=2, width=8)
      >>> jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 3, 3, 2)))[0].shape
      (2, 3, 3, 2, 4)
    """
    return PixelSequence(levels, gpt.GPT(levels + 1, num_layers, num_heads, width, context=None))


@ranges.checked(levels=ranges.COUNT)
class PixelSequence(nn.Module):
    """Images to the logits of each value's level, by a model of sequences.

    Args:
      levels: Number of levels K.
      gpt: Decoder of tokens, of which K begins a sequence.
    """

    rules = RULES

    levels: int
    gpt: nn.Module

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W C K"]:
        tokens = jnp.round(x.reshape(len(x), -1) * (self.levels - 1)).astype(jnp.int32)
        begun = jnp.concatenate([jnp.full((len(x), 1), self.levels, jnp.int32), tokens[:, :-1]], axis=1)
        return self.gpt(begun, train=train)[..., : self.levels].reshape(*x.shape, self.levels)
