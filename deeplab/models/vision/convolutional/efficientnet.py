"""EfficientNet, and its lite form without squeeze-excitation.

Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks",
https://arxiv.org/abs/1905.11946; lite: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, batch_norm, conv, linear
from deeplab.models.vision.convolutional import inverted
from deeplab.models.vision.convolutional.inverted import Row, divisible
from deeplab.models.vision.convolutional.network import ConvNet, MapHead, Trunk
from deeplab.nn.norm import Norm, tensorflow_norm
from deeplab.nn.norm import batch_norm as torch_norm
from deeplab.nn.parts.convolution import ConvNorm, Elementwise, Padding, SqueezeExcite, centered, tensorflow

# Table 1 of the paper.
TABLE = (
    (Row(1, 3, 1, 1, 16),),
    (Row(2, 3, 2, 6, 24),),
    (Row(2, 5, 2, 6, 40),),
    (Row(3, 3, 2, 6, 80),),
    (Row(3, 5, 1, 6, 112),),
    (Row(4, 5, 2, 6, 192),),
    (Row(1, 3, 1, 6, 320),),
)


def table(width: float, depth: float, lite: bool) -> inverted.Table:
    """The table of a variant; the ends of a lite one keep their depth.

    Example:
      >>> [row.width for (row,) in table(2.0, 1.0, lite=False)]
      [32, 48, 80, 160, 224, 384, 640]
      >>> [[row.repeats for (row,) in table(1.0, 2.0, lite)] for lite in (False, True)]
      [[2, 4, 4, 6, 6, 8, 2], [1, 4, 4, 6, 6, 8, 1]]
    """
    squeezed = tuple(tuple(row._replace(squeeze=not lite) for row in rows) for rows in TABLE)
    return inverted.scaled(squeezed, width, depth, ends=not lite)


def EfficientNet(
    *,
    num_classes: int | None = None,
    width: float = 1.0,
    depth: float = 1.0,
    lite: bool = False,
    norm: Norm = tensorflow_norm,
    padding: Padding = tensorflow,
    dropout: float = 0.2,
    drop_path: float = 0.2,
) -> ConvNet:
    """Images [B, H, W, C] to logits of classes.

    Args:
      num_classes: K; the model gives the pooled features when None.
      width: Factor of the widths of table 1.
      depth: Factor of its numbers of blocks.
      lite: Whether it is the lite form: ReLU6, no squeeze-excitation, stem and head of one width.
      norm: Constructor of the norms; see `deeplab.nn.norm`.
      padding: Function from a kernel's side to its padding.
      dropout: Dropout probability of the pooled features in training; may be a tracer.
      drop_path: Probability of leaving out the last block in training; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = EfficientNet(num_classes=10, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 10)
    """
    activation: Elementwise = nn.relu6 if lite else nn.silu
    stem, top = (32, 1280) if lite else (divisible(32 * width), divisible(1280 * width))
    rows = table(width, depth, lite)
    blocks = inverted.stages(
        rows,
        stem,
        norm=norm,
        activation=activation,
        padding=padding,
        squeeze=lambda inputs, _: SqueezeExcite(round(inputs / 4), activation),
        drop=drop_path,
    )
    first = ConvNorm(stem, 3, 2, norm=norm, activation=activation, padding=padding)
    last = ConvNorm(top, norm=norm, activation=activation)
    trunk = Trunk(((first,), *blocks), inverted.taps(rows))
    return ConvNet(trunk, MapHead(num_classes, before=last, dropout=dropout))


def _arguments(config: Config) -> dict[str, Any]:
    return configs.variant(config, ARCHITECTURES, {"channel_multiplier": "width", "depth_multiplier": "depth"})


def _model(config: Config) -> ConvNet:
    return EfficientNet(num_classes=config.get("num_classes", 1000) or None, **_arguments(config))


def _names(config: Config) -> Names:
    chosen = _arguments(config)
    rules = (
        *inverted.rules(table(chosen["width"], chosen["depth"], chosen.get("lite", False))),
        *conv("head/before/conv", "conv_head"),
        *batch_norm("head/before/norm", "bn2"),
        *linear("head/classes", "classifier", True),
    )
    return Names(rules, heads=(r"^(conv_head|bn2|classifier)\.",))


FAMILY = Family(_model, _names, configs.timm_inputs)

# Tan and Le 2019, and the official code: factors of width and depth, and dropout.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 0.25, "depth": 0.3, "lite": True},
    "b0": {"width": 1.0, "depth": 1.0},
    "b1": {"width": 1.0, "depth": 1.1},
    "b2": {"width": 1.1, "depth": 1.2, "dropout": 0.3},
    "b3": {"width": 1.2, "depth": 1.4, "dropout": 0.3},
    "b4": {"width": 1.4, "depth": 1.8, "dropout": 0.4},
    "b5": {"width": 1.6, "depth": 2.2, "dropout": 0.4},
    "b6": {"width": 1.8, "depth": 2.6, "dropout": 0.5},
    "b7": {"width": 2.0, "depth": 3.1, "dropout": 0.5},
    "lite0": {"width": 1.0, "depth": 1.0, "lite": True},
    "lite1": {"width": 1.0, "depth": 1.1, "lite": True},
    "lite2": {"width": 1.1, "depth": 1.2, "lite": True, "dropout": 0.3},
    "lite3": {"width": 1.2, "depth": 1.4, "lite": True, "dropout": 0.3},
    "lite4": {"width": 1.4, "depth": 1.8, "lite": True, "dropout": 0.3},
}

TORCH: dict[str, Any] = {"norm": torch_norm, "padding": centered}
"""What differs in networks of these tables that were trained in PyTorch."""

ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{f"tf_efficientnet_{name}": sizes for name, sizes in VARIANTS.items() if name != "test"},
    **{f"efficientnet_{name}": {**sizes, **TORCH} for name, sizes in VARIANTS.items() if name != "test"},
}
