"""Residual networks over time.

Wang, Yan and Oates 2017, "Time series classification from scratch with deep neural networks: a strong baseline",
https://arxiv.org/abs/1611.06455, section III.C; blocks may stride, as in Hannun et al. 2019,
https://doi.org/10.1038/s41591-018-0268-3, and numbers beside the series may join what is pooled of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.nn.norm import Norm, batch_norm

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"widths": (8, 8), "kernels": (5, 3), "stride": 2, "hidden": (8,)},
    "wang": {"widths": (64, 128, 128), "kernels": (8, 5, 3)},  # Wang et al. 2017, figure 1 (c)
    # A sixteenth of the channels' products and strides of 2: half a second of one lead on a small machine.
    "beat": {"widths": (16, 32, 32), "kernels": (5, 5), "stride": 2, "hidden": (64, 64)},
}

RULES = (
    (r"(conv\d+|projection)/kernel", P(None, None, "model")),  # [t, in, out]
    (r"hidden\d+/kernel", P(None, "model")),
    (r"hidden\d+/bias", P("model")),
    (r"head/kernel", P("model", None)),
)


class Block(nn.Module):
    """Convolutions, each with a norm, and a shortcut: activation(norm(W_n * ... activation(norm(W_1 * x))) + s(x)).

    The shortcut s is the identity, or a projection of width 1 with norm where the shape changes.

    Example:
      >>> import jax
      >>> Block(16, (5, 3), stride=2).init_with_output(jax.random.key(0), jax.numpy.ones((2, 9, 4)))[0].shape
      (2, 5, 16)
    """

    width: int
    kernels: Sequence[int] = (8, 5, 3)
    stride: int = 1
    norm: Norm = batch_norm
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"], train: bool = False) -> Float[Array, "B T2 C2"]:
        y = x
        for i, kernel in enumerate(self.kernels, start=1):
            y = self._conv(kernel, self.stride if i == 1 else 1, f"conv{i}")(y)
            y = self.norm(train, name=f"norm{i}")(y)
            if i < len(self.kernels):
                y = self.activation(y)
        if x.shape != y.shape:
            x = self.norm(train, name="projection_norm")(self._conv(1, self.stride, "projection")(x))
        return self.activation(x + y)

    def _conv(self, kernel: int, stride: int, name: str) -> nn.Conv:
        init = nn.initializers.he_normal()
        return nn.Conv(self.width, (kernel,), (stride,), use_bias=False, kernel_init=init, name=name)


class ResNet1D(nn.Module):
    """Blocks, the mean over time, and a linear layer; or hidden layers before it.

    Args:
      num_classes: K.
      widths: channels of the blocks.
      kernels: of the convolutions of each block.
      stride: of the first convolution of each block.
      hidden: widths of dense layers between the pooled features and the last layer.
      norm: makes a normalisation layer; see `deeplab.nn.norm`.
      activation: elementwise.
      dropout: probability that a pooled or hidden feature is dropped in training; may be a tracer.

    Example:
      >>> import jax
      >>> model = ResNet1D(num_classes=4, widths=(8, 8), stride=2)
      >>> logits, _ = model.init_with_output(jax.random.key(0), jax.numpy.ones((2, 60, 1)))
      >>> logits.shape
      (2, 4)
    """

    num_classes: int
    widths: Sequence[int] = (64, 128, 128)
    kernels: Sequence[int] = (8, 5, 3)
    stride: int = 1
    hidden: Sequence[int] = ()
    norm: Norm = batch_norm
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T C"], context: Float[Array, "B F"] | None = None, train: bool = False
    ) -> Float[Array, "B K"]:
        """Logits of a series; `context` are numbers beside it, which join its pooled features."""
        for i, width in enumerate(self.widths, start=1):
            parts = {"norm": self.norm, "activation": self.activation, "name": f"block{i}"}
            x = Block(width, self.kernels, self.stride, **parts)(x, train)
        x = jnp.mean(x, axis=1)  # [B, T, C] -> [B, C]
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout0")(x)
        x = x if context is None else jnp.concatenate([x, context], axis=-1)  # [B, C + F]
        for i, width in enumerate(self.hidden, start=1):
            x = self.activation(nn.Dense(width, kernel_init=nn.initializers.he_normal(), name=f"hidden{i}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")(x)
        return nn.Dense(self.num_classes, name="head")(x)
