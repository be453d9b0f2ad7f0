"""Upsampling of images."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from deeplab.core import ranges


@ranges.checked(width=ranges.COUNT)
class Upsampling(nn.Module):
    """Transposed convolution with kernel 2 and stride 2, as a linear layer and a reshape.

    The 2 x 2 squares do not overlap. XLA's CPU compiler runs `nn.ConvTranspose` as a convolution over zeros.

    Args:
      width: Number of output channels D.

    Example:
      >>> import jax
      >>> jax.jit(Upsampling(8).init_with_output)(jax.random.key(0), jax.numpy.ones((2, 3, 5, 4)))[0].shape
      (2, 6, 10, 8)
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W D"]:
        batch, height, width, _ = x.shape
        x = nn.Dense(4 * self.width, name="squares")(x).reshape(batch, height, width, 2, 2, self.width)
        return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, self.width)  # (H 2) (W 2)
