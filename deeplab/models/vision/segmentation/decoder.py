"""Semantic segmentation from the features of any network, such as one that was trained on ImageNet.

A light decoder goes from the coarsest features to the finest and adds those of each resolution, as LinkNet does
(Chaurasia and Culurciello 2017, https://arxiv.org/abs/1707.03718).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.parts.convolution import ConvNorm
from deeplab.nn.upsampling import Upsampling

RULES = (
    (r"conv/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"squares/kernel", P(None, "model")),
)

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"widths": (4, 4, 8, 8)},
    # For a CPU.
    "small": {"widths": (32, 48, 64, 96, 128)},
}


@ranges.checked(num_classes=ranges.COUNT, widths=ranges.COUNT)
class FeatureDecoder(nn.Module):
    """Logits for each pixel, from features f_1, ..., f_n of which each has half the sides of the one before.

    d_n = convnorm(f_n), d_i = convnorm_3x3(relu(norm(W f_i) + up(d_{i+1}))), logits = up(d_1): up is a transposed
    convolution of stride 2, cropped where a side was odd. With f_1 of stride 2, the logits have the size of the image.

    Args:
      trunk: Module from images to a tuple of features, the finest first, such as that of a `ConvNet`.
      num_classes: Number of classes K.
      widths: Numbers of channels of d_1, ..., d_n.
      norm: Constructor of the norms of the decoder; see `deeplab.nn.norm`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from deeplab.models.vision.convolutional import efficientnet
      >>> trunk = efficientnet.EfficientNet(**efficientnet.VARIANTS["test"]).trunk  # features of strides 4 to 32
      >>> model = FeatureDecoder(trunk, num_classes=3, **VARIANTS["test"])
      >>> jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((1, 20, 26, 3)))[0].shape
      (1, 10, 14, 3)
    """

    rules = RULES

    trunk: nn.Module
    num_classes: int
    widths: Sequence[int] = (32, 48, 64, 96, 128)
    norm: Norm = batch_norm

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 K"]:
        height, width = x.shape[1:3]
        *finer, coarsest = self.trunk(x, train)
        y = ConvNorm(self.widths[-1], norm=self.norm, name="context")(coarsest, train)
        for i in reversed(range(len(finer))):
            size, channels = finer[i].shape[1:3], self.widths[i]
            skip = ConvNorm(channels, norm=self.norm, activation=None, name=f"skip{i}")(finer[i], train)
            y = nn.relu(skip + Upsampling(channels, name=f"enlarge{i}")(y)[:, : size[0], : size[1]])
            y = ConvNorm(channels, 3, norm=self.norm, name=f"join{i}")(y, train)
        return Upsampling(self.num_classes, name="head")(y)[:, :height, :width]
