"""Temporal convolutional network for forecasting.

Bai, Kolter and Koltun 2018, "An empirical evaluation of generic convolutional and recurrent networks for sequence
modeling", https://arxiv.org/abs/1803.01271; layer normalization replaces weight normalization.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.series import Normalize, by_instance

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "num_blocks": 2},
    "week": {"width": 32, "num_blocks": 6, "kernel_size": 3},
    # Bai et al. 2018, table 2, rows for the adding problem with T = 600 and for word-level PTB.
    "adding": {"width": 24, "num_blocks": 8, "kernel_size": 8},
    "ptb": {"width": 600, "num_blocks": 4, "kernel_size": 3, "dropout": 0.5},
}

RULES = (
    (r"conv\d/kernel", P(None, None, "model")),  # [k, in, out]
    (r"head/kernel", P("model", None)),
)


@ranges.checked(features=ranges.COUNT, kernel_size=ranges.COUNT, dilation=ranges.COUNT, dropout=ranges.RATE)
class Block(nn.Module):
    """relu(x + f(f(x))) with f = dropout(relu(norm(causal convolution))); x is projected if the widths differ.

    Example:
      >>> import jax
      >>> block, x = Block(features=4, kernel_size=2, dilation=2), jax.numpy.ones((1, 6, 3))
      >>> y, variables = jax.jit(block.init_with_output)(jax.random.key(0), x)
      >>> changed = jax.jit(block.apply)(variables, x.at[0, 4].set(9.0))
      >>> (changed == y).all(axis=-1).tolist()  # a time reads itself and what is 2 and 4 before it
      [[True, True, True, True, False, True]]
    """

    features: int
    kernel_size: int
    dilation: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], train: bool = False) -> Float[Array, "B T F"]:
        y = x
        for i in (1, 2):
            size, dilation = (self.kernel_size,), (self.dilation,)
            y = nn.Conv(self.features, size, kernel_dilation=dilation, padding="CAUSAL", name=f"conv{i}")(y)
            y = nn.relu(nn.LayerNorm(name=f"norm{i}")(y))
            y = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")(y)
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, name="shortcut")(x)
        return nn.relu(x + y)


@ranges.checked(
    horizon=ranges.COUNT,
    outputs=ranges.COUNT,
    width=ranges.COUNT,
    num_blocks=ranges.COUNT,
    kernel_size=ranges.COUNT,
    dropout=ranges.RATE,
)
class TCN(nn.Module):
    """Residual blocks of dilated causal convolutions, and a linear layer on the last time.

    The dilation doubles from block to block, so the receptive field of n blocks with kernels of size K is
    1 + 2 (K - 1) (2^n - 1). Channels are processed jointly.

    Args:
      horizon: Forecast horizon H.
      outputs: Number of outputs Q per time.
      width: Number of features of each block.
      num_blocks: Number of blocks n.
      kernel_size: Kernel size K.
      dropout: Dropout rate of hidden units; may be a tracer.
      normalize: Normalization of the history, inverted in the forecast; see `deeplab.nn.series`.

    Example:
      >>> import jax
      >>> model = TCN(horizon=6, width=8, num_blocks=2)
      >>> forecast, _ = jax.jit(model.init_with_output)(jax.random.key(0), jax.numpy.ones((2, 24, 3)))
      >>> forecast.shape
      (2, 6, 3, 1)
    """

    rules = RULES

    horizon: int
    outputs: int = 1
    width: int = 32
    num_blocks: int = 6
    kernel_size: int = 3
    dropout: float = 0.0
    normalize: Normalize = by_instance

    @nn.compact
    def __call__(self, history: Float[Array, "B L C"], train: bool = False) -> Float[Array, "B H C Q"]:
        B, _, C = history.shape
        x, restore = self.normalize(history)
        for i in range(self.num_blocks):
            x = Block(self.width, self.kernel_size, 2**i, self.dropout, name=f"block{i + 1}")(x, train)
        forecast = nn.Dense(self.horizon * C * self.outputs, name="head")(x[:, -1])
        return restore(forecast.reshape(B, self.horizon, C, self.outputs))
