"""LinkNet: a light encoder and decoder for semantic segmentation.

Chaurasia and Culurciello 2017, "LinkNet: exploiting encoder representations for efficient semantic segmentation",
https://arxiv.org/abs/1707.03718. The decoder adds the encoder's features instead of concatenating them as U-Net does,
so its layers are narrow. Upsampling is a 2 x 2 transposed convolution instead of the paper's 3 x 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models.vision.convolutional.resnet import BasicBlock, conv
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.upsampling import Upsampling

Activation = Callable[[jax.Array], jax.Array]

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"stage_sizes": (1, 1), "width": 8},
    # For a CPU: half the channels, and one block per stage.
    "small": {"stage_sizes": (1, 1, 1, 1), "width": 32},
    # Chaurasia and Culurciello 2017, section 3: ResNet-18 as the encoder.
    "18": {"stage_sizes": (2, 2, 2, 2), "width": 64},
}

RULES = (
    (r"(conv\d?|projection)/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"squares/kernel", P(None, "model")),
)


@ranges.checked(num_classes=ranges.COUNT, stage_sizes=ranges.COUNT, width=ranges.COUNT)
class LinkNet(nn.Module):
    """Strided stem, stages of residual blocks, and a decoder that adds the outputs of the stages.

    e_0 = stem(x) at half the side; e_s = blocks(e_{s-1}) with `width` 2^(s-1) channels, at half the side
    from s = 2 on; d_n = e_n, d_{s-1} = e_{s-1} + decode(d_s); logits = W up(d_0) + b.
    Sides that are not multiples of 2^n are padded with their edge, and the logits are cropped.

    Args:
      num_classes: Number of classes K.
      stage_sizes: Numbers of blocks of the n stages.
      width: Number of channels of the stem and the first stage.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`.
      activation: Elementwise activation.

    Example:
      >>> model = LinkNet(num_classes=3, stage_sizes=(1, 1), width=8)
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((1, 10, 13, 3)))
      >>> logits.shape
      (1, 10, 13, 3)
    """

    rules = RULES

    num_classes: int
    stage_sizes: Sequence[int] = (2, 2, 2, 2)
    width: int = 64
    norm: Norm = batch_norm
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W K"]:
        height, width = x.shape[1:3]
        multiple = 2 ** len(self.stage_sizes)
        pads = ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0))
        x = conv(self.width, 5, 2, name="stem_conv")(jnp.pad(x, pads, mode="edge"))
        x = self.activation(self.norm(train, name="stem_norm")(x))
        encoded = [x]
        for s, num_blocks in enumerate(self.stage_sizes, start=1):
            for i in range(1, num_blocks + 1):
                stride = 2 if s > 1 and i == 1 else 1
                block = BasicBlock(
                    self.width * 2 ** (s - 1), stride, self.norm, self.activation, name=f"stage{s}_block{i}"
                )
                x = block(x, train)
            encoded.append(x)
        for s in range(len(self.stage_sizes), 0, -1):
            skip = encoded[s - 1]
            decoder = Decoder(skip.shape[-1], s > 1, self.norm, self.activation, name=f"decode{s}")
            x = skip + decoder(x, train)
        x = Upsampling(self.width // 2, name="enlarge")(x)
        x = self.activation(self.norm(train, name="enlarge_norm")(x))
        return nn.Conv(self.num_classes, (1, 1), name="head")(x)[:, :height, :width]


@ranges.checked(width=ranges.COUNT)
class Decoder(nn.Module):
    """1 x 1 convolution to a quarter of the channels, `Upsampling`, 1 x 1 convolution to the skip's channels.

    Example:
      >>> jax.jit(Decoder(8, True).init_with_output)(jax.random.key(0), jnp.ones((1, 3, 4, 16)))[0].shape
      (1, 6, 8, 8)
    """

    width: int
    enlarge: bool
    norm: Norm = batch_norm
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        narrow = max(x.shape[-1] // 4, 1)
        x = self.activation(self.norm(train, name="norm1")(conv(narrow, 1, 1, name="conv1")(x)))
        x = Upsampling(narrow, name="enlarge")(x) if self.enlarge else conv(narrow, 3, 1, name="conv2")(x)
        x = self.activation(self.norm(train, name="norm2")(x))
        return self.activation(self.norm(train, name="norm3")(conv(self.width, 1, 1, name="conv3")(x)))
