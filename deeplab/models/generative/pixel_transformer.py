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


@ranges.checked(levels=ranges.COUNT, num_layers=ranges.COUNT, num_heads=ranges.COUNT, width=ranges.COUNT)
class PixelTransformer(nn.Module):
    """Images to the logits of each value's level, given those before it: a `GPT` over the values in their order.

    Args:
      levels: Number of levels K.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D.

    Example:
      >>> model = PixelTransformer(4, num_layers=1, num_heads=2, width=8)
      >>> jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 3, 3, 2)))[0].shape
      (2, 3, 3, 2, 4)
    """

    rules = RULES

    levels: int
    num_layers: int = 4
    num_heads: int = 4
    width: int = 128

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W C K"]:
        tokens = jnp.round(x.reshape(len(x), -1) * (self.levels - 1)).astype(jnp.int32)
        begun = jnp.concatenate([jnp.full((len(x), 1), self.levels, jnp.int32), tokens[:, :-1]], axis=1)
        network = gpt.GPT(self.levels + 1, self.num_layers, self.num_heads, self.width, tokens.shape[1], name="gpt")
        return network(begun, train=train)[..., : self.levels].reshape(*x.shape, self.levels)
