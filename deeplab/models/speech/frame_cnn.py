"""Convolutions over the frames of a spectrogram, which keep a state of each: an encoder to learn from hidden frames.

The residual blocks are those of Yu and Koltun 2016, https://arxiv.org/abs/1511.07122, in time: each of them sees
twice as far as the one before.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges

# Sizes of this project: 0.1 to 11 million multiplications per example of 100 frames.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "depth": 2},
    "small": {"width": 64, "depth": 4},
    "medium": {"width": 128, "depth": 5},
}

RULES = (
    (r"conv\d+/kernel", P(None, None, "model")),  # [t, in, out]
    (r"conv\d+/bias", P("model")),
    (r"back\d+/kernel", P("model", None)),
)


@ranges.checked(width=ranges.COUNT, depth=ranges.COUNT)
class FrameCNN(nn.Module):
    """h_0 = W x, h_i = h_(i-1) + V_i gelu(conv_i(norm(h_(i-1)))), with 3 taps that are 2^(i-1) frames apart.

    Args:
      width: D, number of features of a state.
      depth: Number of residual blocks; a state sees 2^depth - 1 frames to each side.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = FrameCNN(**VARIANTS["test"])
      >>> jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 100, 40)))[0].shape
      (2, 100, 8)
    """

    rules = RULES

    width: int = 64
    depth: int = 4

    @nn.compact
    def __call__(self, x: Float[Array, "B F M"], train: bool = False) -> Float[Array, "B F D"]:
        del train
        x = nn.Dense(self.width, name="into")(x)
        for i in range(1, self.depth + 1):
            y = nn.LayerNorm(1e-5, use_fast_variance=False, name=f"norm{i}")(x)
            y = nn.Conv(self.width, (3,), kernel_dilation=2 ** (i - 1), name=f"conv{i}")(y)
            x = x + nn.Dense(self.width, name=f"back{i}")(nn.gelu(y))
        return x
