"""MobileNet 2 and 3.

Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", https://arxiv.org/abs/1801.04381;
Howard et al. 2019, "Searching for MobileNetV3", https://arxiv.org/abs/1905.02244.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, batch_norm, conv, linear, pointwise
from deeplab.models.vision.convolutional import inverted
from deeplab.models.vision.convolutional.inverted import Row, Table, divisible
from deeplab.models.vision.convolutional.network import ConvNet, MapHead, Trunk
from deeplab.nn.norm import Norm, tensorflow_norm
from deeplab.nn.norm import batch_norm as torch_norm
from deeplab.nn.parts.convolution import ConvNorm, Elementwise, Padding, SqueezeExcite, centered, tensorflow

# Sandler et al. 2018, table 2.
V2 = (
    (Row(1, 3, 1, 1, 16),),
    (Row(2, 3, 2, 6, 24),),
    (Row(3, 3, 2, 6, 32),),
    (Row(4, 3, 2, 6, 64),),
    (Row(3, 3, 1, 6, 96),),
    (Row(3, 3, 2, 6, 160),),
    (Row(1, 3, 1, 6, 320),),
)
# Howard et al. 2019, table 1 and 2: where no activation is named it is hard swish.
V3_LARGE = (
    (Row(1, 3, 1, 1, 16, False, nn.relu),),
    (Row(1, 3, 2, 4, 24, False, nn.relu), Row(1, 3, 1, 3, 24, False, nn.relu)),
    (Row(3, 5, 2, 3, 40, True, nn.relu),),
    (Row(1, 3, 2, 6, 80), Row(1, 3, 1, 2.5, 80), Row(2, 3, 1, 2.3, 80)),
    (Row(2, 3, 1, 6, 112, True),),
    (Row(3, 5, 2, 6, 160, True),),
)
V3_SMALL = (
    (Row(1, 3, 2, 1, 16, True, nn.relu),),
    (Row(1, 3, 2, 4.5, 24, False, nn.relu), Row(1, 3, 1, 3.67, 24, False, nn.relu)),
    (Row(1, 5, 2, 4, 40, True), Row(2, 5, 1, 6, 40, True)),
    (Row(2, 5, 1, 3, 48, True),),
    (Row(3, 5, 2, 6, 96, True),),
)


def _minimal(table: Table) -> Table:
    """The table without squeeze-excitation, with kernels of 3 x 3, and with one activation."""
    return tuple(tuple(row._replace(squeeze=False, kernel=3, activation=None) for row in rows) for rows in table)


def MobileNetV2(
    *,
    num_classes: int | None = None,
    width: float = 1.0,
    depth: float = 1.0,
    fixed: bool = False,
    norm: Norm = tensorflow_norm,
    padding: Padding = tensorflow,
    dropout: float = 0.2,
    drop_path: float = 0.0,
) -> ConvNet:
    """Images [B, H, W, C] to logits of classes.

    Args:
      num_classes: K; the model gives the pooled features when None.
      width: Factor of the widths of the table.
      depth: Factor of its numbers of blocks.
      fixed: Whether stem and head keep their width, and the first and last stage their depth.
      norm: Constructor of the norms; see `deeplab.nn.norm`.
      padding: Function from a kernel's side to its padding.
      dropout: Dropout probability of the pooled features in training; may be a tracer.
      drop_path: Probability of leaving out the last block in training; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = MobileNetV2(num_classes=10, **VARIANTS_2["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 10)
    """
    top = 1280 if fixed else max(1280, divisible(1280 * width))
    last = ConvNorm(top, norm=norm, activation=nn.relu6)
    rows = inverted.scaled(V2, width, depth, ends=not fixed)
    stem = 32 if fixed else divisible(32 * width)
    trunk = _trunk(rows, stem, (), norm=norm, activation=nn.relu6, padding=padding, drop=drop_path)
    return ConvNet(trunk, MapHead(num_classes, before=last, dropout=dropout))


@ranges.checked(width=ranges.COUNT)
class _Dense(nn.Module):
    """activation(x W + b).

    Args:
      width: Number of columns of W.
      activation: Function of the product.
    """

    width: int
    activation: Elementwise

    @nn.compact
    def __call__(self, x: Float[Array, "B C"]) -> Float[Array, "B D"]:
        return self.activation(nn.Dense(self.width, name="dense")(x))


def MobileNetV3(
    *,
    num_classes: int | None = None,
    table: Table = V3_LARGE,
    hidden: int = 1280,
    width: float = 1.0,
    depth: float = 1.0,
    activation: Elementwise = nn.hard_swish,
    norm: Norm = tensorflow_norm,
    padding: Padding = tensorflow,
    dropout: float = 0.2,
    drop_path: float = 0.0,
) -> ConvNet:
    """Images [B, H, W, C] to logits of classes.

    Args:
      num_classes: K; the model gives the vector before the classes when None.
      table: Rows, as in `V3_LARGE`.
      hidden: Number of units between the pooled features and the classes.
      width: Factor of the widths of the table.
      depth: Factor of its numbers of blocks.
      activation: Function of stem, head, and all rows that name none.
      norm: Constructor of the norms; see `deeplab.nn.norm`.
      padding: Function from a kernel's side to its padding.
      dropout: Dropout probability of the hidden units in training; may be a tracer.
      drop_path: Probability of leaving out the last block in training; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = MobileNetV3(num_classes=10, **VARIANTS_3["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 10)
    """
    stem = 16 if width < 0.75 else divisible(16 * width)
    last = ConvNorm(divisible(6 * table[-1][-1].width * width), norm=norm, activation=activation)
    rows = inverted.scaled(table, width, depth)
    trunk = _trunk(rows, stem, ((last,),), norm=norm, activation=activation, padding=padding, drop=drop_path)
    return ConvNet(trunk, MapHead(num_classes, after=_Dense(hidden, activation), dropout=dropout))


def _trunk(
    rows: Table,
    stem: int,
    last: tuple[tuple[nn.Module, ...], ...],
    *,
    norm: Norm,
    activation: Elementwise,
    padding: Padding,
    drop: float,
) -> Trunk:
    """Stem, stages and what comes after them, of the last of which the features are given."""

    def squeeze(_: int, hidden: int) -> SqueezeExcite:
        return SqueezeExcite(divisible(hidden / 4), nn.relu, nn.hard_sigmoid)

    first = ConvNorm(stem, 3, 2, norm=norm, activation=activation, padding=padding)
    blocks = inverted.stages(rows, stem, norm=norm, activation=activation, padding=padding, squeeze=squeeze, drop=drop)
    taps = inverted.taps(rows)
    return Trunk(((first,), *blocks, *last), (*taps[:-1], taps[-1] + len(last)))


_MULTIPLIERS = {"channel_multiplier": "width", "depth_multiplier": "depth"}


def _arguments(config: Config) -> dict[str, Any]:
    return configs.variant(config, ARCHITECTURES, _MULTIPLIERS)


def _model(config: Config) -> ConvNet:
    make = MobileNetV2 if config["architecture"] in ARCHITECTURES_2 else MobileNetV3
    return make(num_classes=config.get("num_classes", 1000) or None, **_arguments(config))


def _names(config: Config) -> Names:
    chosen = _arguments(config)
    width, depth = chosen["width"], chosen.get("depth", 1.0)
    heads = (r"^(conv_head|bn2|classifier)\.",)
    classes = linear("head/classes", "classifier", True)
    if config["architecture"] in ARCHITECTURES_2:
        rows = inverted.scaled(V2, width, depth, ends=not chosen.get("fixed", False))
        head: tuple[Rule, ...] = (*conv("head/before/conv", "conv_head"), *batch_norm("head/before/norm", "bn2"))
        return Names((*inverted.rules(rows), *head, *classes), heads=heads)
    rows = inverted.scaled(chosen.get("table", V3_LARGE), width, depth)
    last = f"trunk/stages_{len(rows) + 1}_0"
    tail = (
        *conv(f"{last}/conv", f"blocks.{len(rows)}.0.conv"),
        *batch_norm(f"{last}/norm", f"blocks.{len(rows)}.0.bn1"),
    )
    return Names((*inverted.rules(rows), *tail, *pointwise("head/after/dense", "conv_head"), *classes), heads=heads)


FAMILY = Family(_model, _names, configs.timm_inputs)

# Sandler et al. 2018, section 6.1: factors of the width.
VARIANTS_2: dict[str, dict[str, Any]] = {
    "test": {"width": 0.25, "depth": 0.3},
    "50": {"width": 0.5},
    "75": {"width": 0.75},
    "100": {"width": 1.0},
    "140": {"width": 1.4},
}

_SMALL: Mapping[str, Any] = {"table": V3_SMALL, "hidden": 1024}
_PLAIN: Mapping[str, Any] = {"activation": nn.relu}

# Howard et al. 2019, table 3 and section 6.1.
VARIANTS_3: dict[str, dict[str, Any]] = {
    "test": {"width": 0.25, "depth": 0.3, **_SMALL, "hidden": 32},
    "large_075": {"width": 0.75},
    "large_100": {"width": 1.0},
    "large_minimal_100": {"width": 1.0, **_PLAIN, "table": _minimal(V3_LARGE)},
    "small_075": {"width": 0.75, **_SMALL},
    "small_100": {"width": 1.0, **_SMALL},
    "small_minimal_100": {"width": 1.0, **_SMALL, **_PLAIN, "table": _minimal(V3_SMALL)},
}

TORCH: Mapping[str, Any] = {"norm": torch_norm, "padding": centered}
"""What differs in networks of these tables that were trained in PyTorch."""

ARCHITECTURES_2: dict[str, dict[str, Any]] = {
    "mobilenetv2_035": {"width": 0.35, **TORCH},
    "mobilenetv2_050": {"width": 0.5, **TORCH},
    "mobilenetv2_075": {"width": 0.75, **TORCH},
    "mobilenetv2_100": {"width": 1.0, **TORCH},
    "mobilenetv2_110d": {"width": 1.1, "depth": 1.2, "fixed": True, **TORCH},
    "mobilenetv2_120d": {"width": 1.2, "depth": 1.4, "fixed": True, **TORCH},
    "mobilenetv2_140": {"width": 1.4, **TORCH},
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **ARCHITECTURES_2,
    "mobilenetv3_small_050": {"width": 0.5, **_SMALL, **TORCH},
    **{
        f"{library}mobilenetv3_{size}": {**VARIANTS_3[size], **more}
        for library, more in (("tf_", {}), ("", TORCH))
        for size in VARIANTS_3
        if size != "test" and (library or "minimal" not in size)
    },
}
