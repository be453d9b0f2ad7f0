"""The block of networks of maps, or of a fixed number of tokens: what mixes places, then a feed-forward layer."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.parts.convolution import drop_path


@ranges.checked(drop=ranges.RATE)
class MetaBlock(nn.Module):
    """x + mixer(norm1(x)), then x + feed_forward(norm2(x)).

    Args:
      mixer: Module that lets places read one another, such as `deeplab.nn.attention.windows.WindowAttention`.
      feed_forward: Module applied to the result.
      norm1: Norm of what the mixer reads.
      norm2: Norm of what the feed-forward layer reads.
      drop: Probability that an example leaves a branch out in training; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from deeplab.nn.attention.windows import WindowAttention
      >>> from deeplab.nn.norm import layer_norm
      >>> from deeplab.nn.parts.feed_forward import Plain
      >>> block = MetaBlock(WindowAttention(num_heads=2, window=(2, 2)), Plain(16), layer_norm(), layer_norm())
      >>> block.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 8)))[0].shape
      (1, 4, 4, 8)

    Source: Yu et al. 2021, "MetaFormer is actually what you need for vision", https://arxiv.org/abs/2111.11418.
    """

    mixer: nn.Module
    feed_forward: nn.Module
    norm1: nn.Module
    norm2: nn.Module
    drop: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B *S D"], train: bool = False) -> Float[Array, "B *S D"]:
        x = x + drop_path(self.mixer(self.norm1(x)), self.drop, train, name="drop_path1")
        return x + drop_path(self.feed_forward(self.norm2(x)), self.drop, train, name="drop_path2")
