"""Convolutional network for keyword spotting, invariant to the position of the word in time.

After Sainath and Parada 2015, "Convolutional neural networks for small-footprint keyword spotting",
https://www.isca-archive.org/interspeech_2015/sainath15b_interspeech.html, with small kernels, batch normalization, and
the mean and the maximum over time (Lin et al. 2014, https://arxiv.org/abs/1312.4400) in place of a fixed window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.pooling import max_pool

# Sizes of this project: 2 to 8 million multiplications per example of 100 frames and 40 bands.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"widths": (4, 8), "hidden": 8},
    "small": {"widths": (24, 48, 64), "hidden": 128},
    "medium": {"widths": (32, 64, 128), "hidden": 256},
}

RULES = (
    (r"conv\d+/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"hidden/kernel", P(None, "model")),
    (r"hidden/bias", P("model")),
    (r"head/kernel", P("model", None)),
)


@ranges.checked(num_classes=ranges.COUNT, widths=ranges.COUNT, hidden=ranges.COUNT, dropout=ranges.RATE)
class KeywordCNN(nn.Module):
    """Convolutions with 2 x 2 max pooling, mean and maximum over time, one hidden layer.

    The first convolution is 5 x 5 with stride 2, the others are 3 x 3.

    Args:
      num_classes: Number of classes K.
      widths: Numbers of channels of the convolutions.
      hidden: Number of units of the hidden layer.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`.
      dropout: Dropout rate of hidden units; may be a tracer.

    Example:
      >>> import jax
      >>> model = KeywordCNN(num_classes=10, **VARIANTS["test"])
      >>> jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 100, 40)))[0].shape
      (2, 10)
    """

    rules = RULES

    num_classes: int
    widths: Sequence[int] = (24, 48, 64)
    hidden: int = 128
    norm: Norm = batch_norm
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B F M"], train: bool = False) -> Float[Array, "B K"]:
        init = nn.initializers.he_normal()
        x = x[..., None]  # [B, F, M, 1]
        for i, width in enumerate(self.widths, start=1):
            kernel, stride = ((5, 5), (2, 2)) if i == 1 else ((3, 3), (1, 1))
            x = nn.Conv(width, kernel, stride, use_bias=False, kernel_init=init, name=f"conv{i}")(x)
            # A nondecreasing activation commutes with the maximum, so pooling first leaves a quarter to compute.
            x = nn.relu(max_pool(self.norm(train, name=f"norm{i}")(x), 2))
        x = x.reshape(*x.shape[:2], -1)  # B F' M' C -> B F' (M' C)
        x = jnp.concatenate([jnp.mean(x, axis=1), jnp.max(x, axis=1)], axis=-1)
        x = nn.relu(nn.Dense(self.hidden, kernel_init=init, name="hidden")(x))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_classes, name="head")(x)
