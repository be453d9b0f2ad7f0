"""VGG: convolutions of 3 x 3 alone, and two wide hidden layers after them.

Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition",
https://arxiv.org/abs/1409.1556.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, batch_norm, conv, linear, one, pointwise
from deeplab.models.vision.convolutional.network import ConvNet, Trunk
from deeplab.nn.norm import Norm, no_norm
from deeplab.nn.norm import batch_norm as torch_norm
from deeplab.nn.parts.convolution import ConvNorm, MaxPool
from deeplab.nn.pooling import adaptive_mean

RULES = (
    (r"conv/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"hidden1/kernel", P(None, "model")),
    (r"(hidden2|classes)/kernel", P("model", None)),
)
SIDE = 7
"""Height and width of the map that the hidden layers read."""


class VGGNet(ConvNet):
    """A `ConvNet` whose hidden layers are split over devices by their units.

    Example:
      >>> tuple(dict(VGG(**VARIANTS["test"]).rules)["hidden1/kernel"])
      (None, 'model')
    """

    rules = RULES


@ranges.checked(num_classes=ranges.COUNT, hidden=ranges.COUNT, dropout=ranges.RATE)
class HiddenHead(nn.Module):
    """Logits of classes through two hidden layers that read all places of a map of 7 x 7, to which others are averaged.

    Args:
      num_classes: K; the units of the second layer are given when None.
      hidden: Number of hidden units of each layer.
      dropout: Probability of dropping a hidden unit in training; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> head, x = HiddenHead(num_classes=3, hidden=8, dropout=0.5), jnp.ones((2, 9, 9, 4))
      >>> logits, variables = jax.eval_shape(head.init_with_output, jax.random.key(0), x)
      >>> logits.shape, variables["params"]["hidden1"]["kernel"].shape  # 7 * 7 places of 4 channels
      ((2, 3), (196, 8))
    """

    num_classes: int | None
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B K"]:
        x = adaptive_mean(x, (SIDE, SIDE)).reshape(len(x), -1)
        for number in (1, 2):
            x = nn.relu(nn.Dense(self.hidden, name=f"hidden{number}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{number}")(x)
        return x if self.num_classes is None else nn.Dense(self.num_classes, name="classes")(x)


def VGG(
    *,
    num_classes: int | None = None,
    stages: Sequence[Sequence[int]],
    hidden: int = 4096,
    norm: Norm = no_norm,
    dropout: float = 0.5,
) -> VGGNet:
    """Images [B, H, W, C] to logits of classes.

    Args:
      num_classes: K; the model gives the last hidden units when None.
      stages: Numbers of channels of the convolutions of each stage, after which a maximum halves the sides.
      hidden: Number of units of each hidden layer.
      norm: Constructor of the norms; see `deeplab.nn.norm`.
      dropout: Probability of dropping a hidden unit in training; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = VGG(num_classes=10, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 10)
    """
    found: list[tuple[nn.Module, ...]] = []
    for number, widths in enumerate(stages):
        pool = (MaxPool(2, 2),) if number else ()
        found.append((*pool, *(ConvNorm(width, 3, norm=norm, use_bias=True) for width in widths)))
    trunk = Trunk((*found, (MaxPool(2, 2),)), tuple(range(2, len(stages) + 1)))
    return VGGNet(trunk, HiddenHead(num_classes, hidden, dropout))


def _arguments(config: Config) -> dict[str, Any]:
    found = configs.variant(config, ARCHITECTURES, {"cfg": "stages"})
    if "M" in found["stages"]:  # their list, in which each stage ends with an "M"
        stages: list[list[int]] = [[]]
        for width in found["stages"]:
            stages = [*stages, []] if width == "M" else [*stages[:-1], [*stages[-1], width]]
        found["stages"] = stages[:-1]
    return found


def _model(config: Config) -> VGGNet:
    return VGG(num_classes=config.get("num_classes", 1000) or None, **_arguments(config))


def _names(config: Config) -> Names:
    chosen, number = _arguments(config), 0
    rules: tuple[Rule, ...] = ()
    norms = "norm" in chosen
    for stage, widths in enumerate(chosen["stages"]):
        for i in range(len(widths)):
            ours = f"trunk/stages_{stage}_{i + (stage > 0)}"
            rules += conv(f"{ours}/conv", f"features.{number}", bias=True)
            rules += batch_norm(f"{ours}/norm", f"features.{number + 1}") if norms else ()
            number += 3 if norms else 2
        number += 1
    sides = (("h", SIDE), ("w", SIDE))
    if config.get("layout") == "torchvision":
        first = Rule(("head/hidden1/kernel",), "classifier.0.weight", "o (c h w) -> (h w c) o", sizes=sides)
        rules += (first, *one("head/hidden1/bias", "classifier.0.bias"))
        rules += (*linear("head/hidden2", "classifier.3", True), *linear("head/classes", "classifier.6", True))
        return Names(rules, heads=(r"^classifier\.",))
    first = Rule(("head/hidden1/kernel",), "pre_logits.fc1.weight", "o c h w -> (h w c) o", sizes=sides)
    rules += (first, *one("head/hidden1/bias", "pre_logits.fc1.bias"))
    rules += (*pointwise("head/hidden2", "pre_logits.fc2"), *linear("head/classes", "head.fc", True))
    return Names(rules, heads=(r"^(pre_logits|head)\.",))


FAMILY = Family(_model, _names, configs.timm_inputs)


def _sizes(*depths: int) -> dict[str, Any]:
    widths = (64, 128, 256, 512, 512)
    return {"stages": tuple((width,) * depth for width, depth in zip(widths, depths, strict=True))}


# Simonyan and Zisserman 2014, table 1: A, B, D and E.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"stages": ((4,), (4,), (8, 8)), "hidden": 16},
    "11": _sizes(1, 1, 2, 2, 2),
    "13": _sizes(2, 2, 2, 2, 2),
    "16": _sizes(2, 2, 3, 3, 3),
    "19": _sizes(2, 2, 4, 4, 4),
}
VARIANTS |= {f"{name}_bn": {**VARIANTS[name], "norm": torch_norm} for name in ("11", "13", "16", "19")}

ARCHITECTURES: dict[str, dict[str, Any]] = {f"vgg{name}": sizes for name, sizes in VARIANTS.items() if name != "test"}
