"""FCOS: a detector without anchors.

Tian, Shen, Chen and He 2019, "FCOS: fully convolutional one-stage object detection", https://arxiv.org/abs/1904.01355;
the pyramid: Lin et al. 2016, https://arxiv.org/abs/1612.03144.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.nn.norm import Norm, group_norm
from deeplab.nn.parts.convolution import ConvNorm

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "depth": 1},
    # For a CPU.
    "small": {"width": 64, "depth": 2},
    # Tian et al. 2019, section 3.2 and figure 2.
    "2019": {"width": 256, "depth": 4},
}

RULES = ((r"(conv\d*|projection)/kernel", P(None, None, None, "model")),)  # [h, w, in, out]; trunks have these names

PRIOR = 0.01  # probability of each class at each place before training (Lin et al. 2017, section 3.3)

_SMALL = nn.initializers.normal(0.01)  # of the towers' last layers (Lin et al. 2017, section 4.1)


@ranges.checked(
    num_classes=ranges.COUNT, width=ranges.COUNT, depth=ranges.COUNT, levels=ranges.COUNT, skip=ranges.NATURAL
)
class FCOS(nn.Module):
    """At each place of a pyramid of features: a box around it, how good the box is, and logits of the classes.

    The trunk's maps, of strides 8, 16 and 32 in networks for ImageNet, are brought to one width, from the coarsest on
    each is enlarged and added to the next one, and strided convolutions make further levels. Two towers of
    convolutions, the same ones at each level, give the classes, and the box with its quality.

    The output is one array [B, L, 8 + K] with a row for each of the L places, the finest level first:

    | columns | content                                                                |
    |---------|------------------------------------------------------------------------|
    | 0, 1    | x and y of the place, in pixels of the image                           |
    | 2       | the stride s of its level, in pixels                                   |
    | 3 to 6  | distances to the box's left, top, right and bottom, s exp(c z), pixels |
    | 7       | logit of the box's quality                                             |
    | 8 on    | logits of the K classes, independent of each other                     |

    Args:
      trunk: Module with a method `features(x, train)`, such as a `ResNet`: maps, each of twice the stride of the one
        before.
      num_classes: Number of classes K.
      width: Number of channels of the pyramid and the towers, a multiple of 8 with the default norm.
      depth: Number of convolutions of each tower.
      levels: Number of levels of the pyramid.
      skip: Number of the trunk's finest maps that are not read.
      norm: Constructor of the norms of the towers, which all levels share; see `deeplab.nn.norm`.

    Raises:
      UserError: the trunk has no method `features`, or too few maps.

    Example:
      >>> import jax
      >>> from deeplab.models import ResNet
      >>> from deeplab.models.vision.convolutional.resnet import ImageNetStem
      >>> trunk = ResNet(None, (1, 1, 1, 1), width=8, stem=ImageNetStem)
      >>> model = FCOS(trunk, num_classes=2, levels=3, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.ones((1, 32, 64, 3)))[0].shape  # 4 * 8 + 2 * 4 + 1 * 2 places
      (1, 42, 10)
    """

    rules = RULES

    trunk: nn.Module
    num_classes: int
    width: int = 256
    depth: int = 4
    levels: int = 5
    skip: int = 1
    norm: Norm = group_norm

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B L 8+K"]:
        trunk: Any = self.trunk
        if not callable(getattr(trunk, "features", None)):
            raise UserError(f"the trunk is a {type(trunk).__name__}, expected a model with `features`, as ResNet")
        maps = trunk.features(x, train)[self.skip :]
        if not maps:
            raise UserError(f"the trunk has {self.skip} maps or fewer, of which skip={self.skip} leaves none")
        pyramid = Pyramid(self.width, self.levels, name="pyramid")(maps)
        classes, boxes = (Tower(self.width, self.depth, self.norm, name=name) for name in ("class_tower", "box_tower"))
        bias = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        logits = nn.Conv(self.num_classes, (3, 3), kernel_init=_SMALL, bias_init=bias, name="classes")
        box, quality = (nn.Conv(n, (3, 3), kernel_init=_SMALL, name=name) for n, name in ((4, "box"), (1, "quality")))
        scales = self.param("scales", nn.initializers.ones, (self.levels,))
        finest, rows = 2 ** round(math.log2(x.shape[1] / pyramid[0].shape[1])), []
        for level, features in enumerate(pyramid):
            stride = finest * 2**level
            seen, around = classes(features, train), boxes(features, train)
            # In float32: half a precision rounds the coordinates of large images to several pixels.
            distances = stride * jnp.exp(scales[level] * box(around).astype(jnp.float32))
            parts = (places(features, stride), distances, quality(around), logits(seen))
            rows.append(jnp.concatenate([part.astype(jnp.float32) for part in parts], axis=-1))
        return jnp.concatenate([row.reshape(len(x), -1, row.shape[-1]) for row in rows], axis=1)


def places(features: Float[Array, "B h w D"], stride: int) -> Float[Array, "B h w 3"]:
    """x and y of the places of a map, the centers of squares of `stride` pixels, and the stride.

    Example:
      >>> places(jnp.zeros((1, 1, 2, 5)), 8).tolist()
      [[[[4.0, 4.0, 8.0], [12.0, 4.0, 8.0]]]]
    """
    batch, height, width, _ = features.shape
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    grid = jnp.stack([(x + 0.5) * stride, (y + 0.5) * stride, jnp.full(x.shape, stride)], axis=-1)
    return jnp.broadcast_to(grid, (batch, *grid.shape))


@ranges.checked(width=ranges.COUNT, levels=ranges.COUNT)
class Pyramid(nn.Module):
    """Maps of one width: p_n = W_n m_n, p_i = W_i m_i + enlarged p_{i+1}, each smoothed by a 3 x 3 convolution.

    Args:
      width: Number of channels.
      levels: Number of levels; those beyond the maps are made by convolutions of stride 2.

    Example:
      >>> import jax
      >>> maps, pyramid = (jnp.ones((1, 8, 8, 3)), jnp.ones((1, 4, 4, 5))), Pyramid(width=6, levels=4)
      >>> [x.shape for x in jax.eval_shape(pyramid.init_with_output, jax.random.key(0), maps)[0]]
      [(1, 8, 8, 6), (1, 4, 4, 6), (1, 2, 2, 6), (1, 1, 1, 6)]
    """

    width: int
    levels: int

    @nn.compact
    def __call__(self, maps: tuple[Float[Array, "B H W C"], ...]) -> list[Float[Array, "B H2 W2 D"]]:
        above, made = None, []
        for i, x in reversed([*enumerate(maps[: self.levels], start=1)]):
            x = nn.Conv(self.width, (1, 1), name=f"lateral{i}")(x)
            if above is not None:
                x = x + enlarged(above)[:, : x.shape[1], : x.shape[2]]
            above = x
            made.insert(0, nn.Conv(self.width, (3, 3), name=f"smooth{i}")(x))
        for i in range(len(made) + 1, self.levels + 1):
            x = made[-1] if i == len(maps) + 1 else nn.relu(made[-1])
            made.append(nn.Conv(self.width, (3, 3), (2, 2), name=f"level{i}")(x))
        return made


def enlarged(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C"]:
    """Each pixel as a square of four.

    Example:
      >>> enlarged(jnp.array([[[[1.0], [2.0]]]]))[0, ..., 0].tolist()
      [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """
    batch, height, width, channels = x.shape
    squares = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return squares.reshape(batch, 2 * height, 2 * width, channels)


@ranges.checked(width=ranges.COUNT, depth=ranges.NATURAL)
class Tower(nn.Module):
    """3 x 3 convolutions, each followed by norm and ReLU.

    Example:
      >>> import jax
      >>> tower, x = Tower(width=8, depth=2, norm=group_norm), jnp.ones((1, 5, 6, 4))
      >>> y, variables = jax.eval_shape(tower.init_with_output, jax.random.key(0), x)
      >>> y.shape, sorted(variables["params"])
      ((1, 5, 6, 8), ['conv1', 'conv2'])
    """

    width: int
    depth: int
    norm: Norm

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W D"]:
        for i in range(1, self.depth + 1):
            x = ConvNorm(self.width, 3, norm=self.norm, name=f"conv{i}")(x, train)
        return x
