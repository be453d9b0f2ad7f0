"""Residual networks.

He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", https://arxiv.org/abs/1512.03385.
The stride of a bottleneck is in its 3 x 3 convolution, as in published weights, and each branch starts at zero
(Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.parts.convolution import INIT, centered
from deeplab.nn.pooling import global_mean, max_pool

Activation = Callable[[jax.Array], jax.Array]

Part = Callable[..., nn.Module]
"""Constructor of a stem or a block, `(width, norm=..., activation=..., name=...)`; a block also takes `stride`."""

RULES = (
    (r"(conv\d*|projection)/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"head/kernel", P("model", None)),
)


def conv(width: int, kernel: int, stride: int, name: str, groups: int = 1) -> nn.Conv:
    """Convolution without bias (a norm follows), padded by kernel // 2 on every side: H -> ceil(H / stride).

    Example:
      >>> layer, x = conv(8, kernel=3, stride=2, name="conv"), jax.numpy.ones((1, 7, 7, 4))
      >>> jax.eval_shape(layer.init_with_output, jax.random.key(0), x)[0].shape
      (1, 4, 4, 8)
    """
    return nn.Conv(
        width, (kernel, kernel), (stride, stride), padding=centered(kernel), feature_group_count=groups,
        use_bias=False, kernel_init=INIT, name=name,
    )  # fmt: skip


@ranges.checked(width=ranges.COUNT, stride=ranges.COUNT)
class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: activation(norm(W_2 * activation(norm(W_1 * x))) + shortcut(x)).

    The shortcut is the identity, or a 1 x 1 projection with norm where the shape changes (option B of the paper).

    Example:
      >>> import jax
      >>> block = BasicBlock(16, stride=2)
      >>> jax.jit(block.init_with_output)(jax.random.key(0), jax.numpy.ones((2, 8, 8, 4)))[0].shape
      (2, 4, 4, 16)
    """

    width: int
    stride: int = 1
    norm: Norm = batch_norm
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 C2"]:
        y = conv(self.width, 3, self.stride, name="conv1")(x)
        y = self.activation(self.norm(train, name="norm1")(y))
        y = conv(self.width, 3, 1, name="conv2")(y)
        y = self.norm(train, name="norm2", scale_init=nn.initializers.zeros)(y)
        if x.shape != y.shape:
            x = conv(self.width, 1, self.stride, name="projection")(x)
            x = self.norm(train, name="projection_norm")(x)
        return self.activation(x + y)


@ranges.checked(width=ranges.COUNT, stride=ranges.COUNT, groups=ranges.COUNT, base=ranges.COUNT)
class BottleneckBlock(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, the last to 4 `width` channels, and a shortcut as in `BasicBlock`.

    The 3 x 3 convolution has `groups` groups of `width` `base` / 64 channels: more than one in a ResNeXt (Xie et al.
    2016, https://arxiv.org/abs/1611.05431), a base of 128 in a WideResNet (Zagoruyko and Komodakis 2016,
    https://arxiv.org/abs/1605.07146).

    Example:
      >>> import jax
      >>> block = BottleneckBlock(16, stride=2)
      >>> jax.jit(block.init_with_output)(jax.random.key(0), jax.numpy.ones((2, 8, 8, 4)))[0].shape
      (2, 4, 4, 64)
    """

    width: int
    stride: int = 1
    norm: Norm = batch_norm
    activation: Activation = nn.relu
    groups: int = 1
    base: int = 64

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 C2"]:
        inner = self.width * self.base // 64 * self.groups
        y = conv(inner, 1, 1, name="conv1")(x)
        y = self.activation(self.norm(train, name="norm1")(y))
        y = conv(inner, 3, self.stride, name="conv2", groups=self.groups)(y)
        y = self.activation(self.norm(train, name="norm2")(y))
        y = conv(4 * self.width, 1, 1, name="conv3")(y)
        y = self.norm(train, name="norm3", scale_init=nn.initializers.zeros)(y)
        if x.shape != y.shape:
            x = conv(4 * self.width, 1, self.stride, name="projection")(x)
            x = self.norm(train, name="projection_norm")(x)
        return self.activation(x + y)


@ranges.checked(width=ranges.COUNT)
class CifarStem(nn.Module):
    """3 x 3 convolution at full resolution, for small images (section 4.2 of the paper).

    Example:
      >>> jax.eval_shape(CifarStem(8).init_with_output, jax.random.key(0), jax.numpy.ones((2, 32, 32, 3)))[0].shape
      (2, 32, 32, 8)
    """

    width: int
    norm: Norm = batch_norm
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W D"]:
        x = conv(self.width, 3, 1, name="conv")(x)
        return self.activation(self.norm(train, name="norm")(x))


@ranges.checked(width=ranges.COUNT)
class StridedStem(nn.Module):
    """5 x 5 convolution of stride 2, for small images on small machines: a quarter of the operations of `CifarStem`.

    On two CPU cores, a step of three stages of one block, from 32 channels on 128 images of 28 x 28, takes 87 instead
    of 305 ms.

    Example:
      >>> jax.eval_shape(StridedStem(8).init_with_output, jax.random.key(0), jax.numpy.ones((2, 32, 32, 3)))[0].shape
      (2, 16, 16, 8)
    """

    width: int
    norm: Norm = batch_norm
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        x = conv(self.width, 5, 2, name="conv")(x)
        return self.activation(self.norm(train, name="norm")(x))


@ranges.checked(width=ranges.COUNT)
class ImageNetStem(nn.Module):
    """7 x 7 convolution of stride 2 and 3 x 3 max pooling of stride 2 (table 1 of the paper).

    Example:
      >>> jax.eval_shape(ImageNetStem(8).init_with_output, jax.random.key(0), jax.numpy.ones((2, 32, 32, 3)))[0].shape
      (2, 8, 8, 8)
    """

    width: int
    norm: Norm = batch_norm
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H4 W4 D"]:
        x = conv(self.width, 7, 2, name="conv")(x)
        x = self.activation(self.norm(train, name="norm")(x))
        return max_pool(x, 3, stride=2, padding=((1, 1), (1, 1)))


@ranges.checked(width=ranges.COUNT)
class _Stages(nn.Module):
    """The stem and the stages of a `ResNet`: the features that each stage gives."""

    stage_sizes: Sequence[int]
    width: int
    block: Part
    stem: Part
    norm: Norm
    activation: Activation

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> tuple[Float[Array, "B H2 W2 C2"], ...]:
        parts, features = {"norm": self.norm, "activation": self.activation}, []
        x = self.stem(self.width, **parts, name="stem")(x, train)
        for stage, num_blocks in enumerate(self.stage_sizes):
            for i in range(num_blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                name = f"stage{stage + 1}_block{i + 1}"
                x = self.block(self.width * 2**stage, stride=stride, **parts, name=name)(x, train)
            features.append(x)
        return tuple(features)


@ranges.checked(num_classes=ranges.COUNT, stage_sizes=ranges.COUNT, width=ranges.COUNT, dropout=ranges.RATE)
class ResNet(nn.Module):
    """Stem, stages of residual blocks, mean over space and a linear layer.

    Stage s = 0, 1, ... has blocks of `width` 2^s channels. The first block of each stage after the first halves the
    side. `model.apply(variables, images, method="features")` gives what each stage does, for detection and
    segmentation: of strides 4, 8, 16 and 32 with an `ImageNetStem`.

    Args:
      num_classes: Number of classes K; the model gives the pooled features when None.
      stage_sizes: Numbers of blocks of the stages.
      width: Number of channels of the first stage.
      block: `BasicBlock`, `BottleneckBlock` or another module with the same arguments.
      stem: `CifarStem`, `StridedStem`, `ImageNetStem` or another module with the same arguments.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`.
      activation: Elementwise activation.
      dropout: Dropout rate of pooled features; may be a tracer.

    Example:
      >>> import jax
      >>> model = ResNet(num_classes=10, stage_sizes=(1, 1), width=8)
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jax.numpy.ones((2, 8, 8, 1)))
      >>> logits.shape
      (2, 10)
    """

    rules = RULES

    num_classes: int | None
    stage_sizes: Sequence[int] = (2, 2, 2, 2)
    width: int = 64
    block: Part = BasicBlock
    stem: Part = CifarStem
    norm: Norm = batch_norm
    activation: Activation = nn.relu
    dropout: float = 0.0

    def setup(self) -> None:
        self.stages = _Stages(self.stage_sizes, self.width, self.block, self.stem, self.norm, self.activation)
        nn.share_scope(self, self.stages)  # its parameters are this module's own, by the same names

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B K"]:
        x = global_mean(self.stages(x, train)[-1])  # [B, C]
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return x if self.num_classes is None else nn.Dense(self.num_classes, name="head")(x)

    def features(self, x: Float[Array, "B H W C"], train: bool = False) -> tuple[Float[Array, "B H2 W2 C2"], ...]:
        """What each stage gives."""
        return self.stages(x, train)


_DEEP: dict[str, Any] = {"stem": ImageNetStem, "block": BottleneckBlock}


def _with(groups: int = 1, base: int = 64) -> dict[str, Any]:
    return {"stem": ImageNetStem, "block": functools.partial(BottleneckBlock, groups=groups, base=base)}


# He et al. 2016: table 1 (ImageNet) and section 4.2 (CIFAR; there with parameter-free shortcuts); Xie et al. 2016,
# table 1; wide ones with twice the inner channels, as torchvision publishes them.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"stage_sizes": (1, 1), "width": 8},
    "18": {"stage_sizes": (2, 2, 2, 2), "stem": ImageNetStem},
    "34": {"stage_sizes": (3, 4, 6, 3), "stem": ImageNetStem},
    "50": {"stage_sizes": (3, 4, 6, 3), **_DEEP},
    "101": {"stage_sizes": (3, 4, 23, 3), **_DEEP},
    "152": {"stage_sizes": (3, 8, 36, 3), **_DEEP},
    "wide50": {"stage_sizes": (3, 4, 6, 3), **_with(base=128)},
    "wide101": {"stage_sizes": (3, 4, 23, 3), **_with(base=128)},
    "next50_32x4d": {"stage_sizes": (3, 4, 6, 3), **_with(32, 4)},
    "next101_32x4d": {"stage_sizes": (3, 4, 23, 3), **_with(32, 4)},
    "next101_32x8d": {"stage_sizes": (3, 4, 23, 3), **_with(32, 8)},
    "next101_64x4d": {"stage_sizes": (3, 4, 23, 3), **_with(64, 4)},
    "cifar20": {"stage_sizes": (3, 3, 3), "width": 16},
    "cifar56": {"stage_sizes": (9, 9, 9), "width": 16},
}
