"""U-Net: a convolutional encoder and decoder with skip connections at every scale.

Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image segmentation",
https://arxiv.org/abs/1505.04597. The paper's convolutions are not padded, so that its output is smaller than its input.
Here they are padded, and a norm follows each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.pooling import max_pool
from deeplab.nn.upsampling import Upsampling

Activation = Callable[[jax.Array], jax.Array]

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 4, "depth": 1},
    "small": {"width": 16, "depth": 4},
    # Ronneberger et al. 2015, figure 1.
    "2015": {"width": 64, "depth": 4},
}

RULES = (
    (r"conv\d/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"squares/kernel", P(None, "model")),
    (r"head/kernel", P(None, None, "model", None)),
)


@ranges.checked(num_classes=ranges.COUNT, width=ranges.COUNT, depth=ranges.COUNT, dropout=ranges.RATE)
class UNet(nn.Module):
    """Logits for each pixel.

    e_0 = convs(x), e_i = convs(maxpool(e_{i-1})) with `width` 2^i channels; d_n = e_n,
    d_i = convs([e_i, up(d_{i+1})]), up a transposed convolution of stride 2; logits = W d_0 + b.
    Sides that are not multiples of 2^depth are padded with their edge, and the logits are cropped.

    Args:
      num_classes: Number of classes K.
      width: Number of channels at full resolution.
      depth: Number n of poolings.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`.
      activation: Elementwise activation.
      dropout: Dropout rate at the lowest resolution (section 3.1 of the paper); may be a tracer.

    Example:
      >>> model = UNet(num_classes=2, width=4, depth=2)
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((1, 10, 13, 3)))
      >>> logits.shape
      (1, 10, 13, 2)
    """

    rules = RULES

    num_classes: int
    width: int = 64
    depth: int = 4
    norm: Norm = batch_norm
    activation: Activation = nn.relu
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W K"]:
        height, width = x.shape[1:3]
        x = pad_to_multiple(x, 2**self.depth)
        skips = []
        for i in range(self.depth):
            x = self._convs(self.width * 2**i, f"down{i}")(x, train)
            skips.append(x)
            x = max_pool(x, 2)
        x = self._convs(self.width * 2**self.depth, "bottom")(x, train)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        for i in reversed(range(self.depth)):
            x = Upsampling(self.width * 2**i, name=f"enlarge{i}")(x)
            x = self._convs(self.width * 2**i, f"up{i}")(jnp.concatenate([skips[i], x], axis=-1), train)
        return nn.Conv(self.num_classes, (1, 1), name="head")(x)[:, :height, :width]

    def _convs(self, width: int, name: str) -> Convolutions:
        return Convolutions(width, self.norm, self.activation, name=name)


@ranges.checked(width=ranges.COUNT)
class Convolutions(nn.Module):
    """Two 3 x 3 convolutions, each followed by norm and activation.

    Example:
      >>> jax.jit(Convolutions(8).init_with_output)(jax.random.key(0), jnp.ones((1, 6, 6, 3)))[0].shape
      (1, 6, 6, 8)
    """

    width: int
    norm: Norm = batch_norm
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W D"]:
        init = nn.initializers.he_normal()  # section 3 of the paper
        for i in (1, 2):
            x = nn.Conv(self.width, (3, 3), use_bias=False, kernel_init=init, name=f"conv{i}")(x)
            x = self.activation(self.norm(train, name=f"norm{i}")(x))
        return x


def pad_to_multiple(x: Float[Array, "B H W C"], multiple: int) -> Float[Array, "B H2 W2 C"]:
    """Repeats the last row and column until both sides are multiples of `multiple`.

    Example:
      >>> pad_to_multiple(jnp.ones((1, 5, 8, 3)), 4).shape
      (1, 8, 8, 3)
    """
    height, width = x.shape[1:3]
    return jnp.pad(x, ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)), mode="edge")
