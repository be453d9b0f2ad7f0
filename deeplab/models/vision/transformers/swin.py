"""Swin transformers: attention within windows, which every second block shifts, on maps that get coarser.

Liu et al. 2021, "Swin transformer: hierarchical vision transformer using shifted windows",
https://arxiv.org/abs/2103.14030.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models.vision.convolutional.network import ConvNet, MapHead, Normed, Trunk
from deeplab.nn.activations import gelu
from deeplab.nn.attention.windows import WindowAttention
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.convolution import Elementwise, Patches
from deeplab.nn.parts.feed_forward import Plain
from deeplab.nn.parts.metaformer import MetaBlock
from deeplab.nn.transformer import INIT

RULES = (
    (r"(query|key|value|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(out|down|classes)/kernel", P("model", None)),
)


class SwinNet(ConvNet):
    """A `ConvNet` of Swin's blocks, which are split over devices by heads and by hidden units.

    Example:
      >>> tuple(dict(Swin(**VARIANTS["test"]).rules)["(query|key|value|up)/kernel"])
      (None, 'model')
    """

    rules = RULES


@ranges.checked(width=ranges.COUNT)
class Merge(nn.Module):
    """W norm(the four places of each square of 2 x 2), with zeros after a side that is odd.

    Args:
      width: Number of columns of W.
      norm: Norm of the four.

    Example:
      >>> import jax
      >>> merge, x = Merge(width=8, norm=layer_norm()), jnp.ones((1, 5, 6, 4))
      >>> jax.eval_shape(merge.init_with_output, jax.random.key(0), x)[0].shape
      (1, 3, 3, 8)
    """

    width: int
    norm: nn.Module

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        del train
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        B, H, W, C = x.shape
        squares = x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 4, 2, 5)  # B (I h) (J w) C -> B I J w h C
        x = self.norm(squares.reshape(B, H // 2, W // 2, 4 * C))
        return nn.Dense(self.width, use_bias=False, kernel_init=INIT, name="reduce")(x)


def Swin(
    *,
    num_classes: int | None = None,
    size: int | tuple[int, int] = 224,
    patch: int = 4,
    depths: Sequence[int],
    num_heads: Sequence[int],
    width: int,
    window: int = 7,
    expansion: float = 4.0,
    activation: Elementwise = gelu,
    bias: bool = True,
    epsilon: float = 1e-5,
    dropout: float = 0.0,
    drop_path: float = 0.1,
) -> SwinNet:
    """Images [B, H, W, C] to logits of classes.

    Args:
      num_classes: K; the model gives the pooled features when None.
      size: Height and width in pixels of the images for which windows are made: none is larger than the map. Images of
        any size are read.
      patch: Height and width of a patch in pixels.
      depths: Numbers of blocks of the stages.
      num_heads: Numbers of heads of the stages.
      width: Number of channels of the first stage; each next one has twice as many.
      window: Height and width of a window.
      expansion: Hidden units of the feed-forward layers for each channel.
      activation: Function of the hidden units.
      bias: Whether queries, keys and values have biases.
      epsilon: Number added to the variance in norms, but for those of patches, where it is 1e-5.
      dropout: Dropout probability of the pooled features in training; may be a tracer.
      drop_path: Probability of leaving out the branches of the last block in training; may be a tracer.

    Example:
      >>> import jax
      >>> model = Swin(num_classes=10, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 10)
    """
    last, stages = max(sum(depths) - 1, 1), []
    height, wide = (size, size) if isinstance(size, int) else size
    for stage, depth in enumerate(depths):
        C, step = width * 2**stage, patch * 2**stage
        fitting = (min(window, -(-height // step)), min(window, -(-wide // step)))
        first = Merge(C, layer_norm()) if stage else Patches(C, patch, patch, layer_norm(), pad=True)
        blocks: list[nn.Module] = [first]
        for i in range(depth):
            attention = WindowAttention(num_heads[stage], fitting, shifted=i % 2 == 1, use_bias=bias)
            feed_forward = Plain(int(expansion * C), activation)
            rate = drop_path * (sum(depths[:stage]) + i) / last
            blocks.append(MetaBlock(attention, feed_forward, layer_norm(epsilon), layer_norm(epsilon), rate))
        stages.append(tuple(blocks))
    trunk = Trunk(tuple(stages), tuple(range(len(depths))))
    return SwinNet(trunk, MapHead(num_classes, before=Normed(layer_norm(epsilon)), dropout=dropout))


_LARGE: dict[str, Any] = {"depths": (2, 2, 18, 2)}

# Liu et al. 2021, section 3.3.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"size": 32, "depths": (2, 1), "num_heads": (2, 4), "width": 16, "window": 3},
    "tiny": {"depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "width": 96},
    "small": {**_LARGE, "num_heads": (3, 6, 12, 24), "width": 96},
    "base": {**_LARGE, "num_heads": (4, 8, 16, 32), "width": 128},
    "large": {**_LARGE, "num_heads": (6, 12, 24, 48), "width": 192},
}
