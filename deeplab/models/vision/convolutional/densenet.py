"""DenseNet: each layer reads what all layers before it in its stage gave.

Huang et al. 2016, "Densely connected convolutional networks", https://arxiv.org/abs/1608.06993.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, conv, linear
from deeplab.models.foreign import batch_norm as names_of_norm
from deeplab.models.vision.convolutional.network import ConvNet, MapHead, Trunk
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.parts.convolution import INIT, ConvNorm, MaxPool, centered


class NormRelu(nn.Module):
    """relu(norm(x)).

    Example:
      >>> from deeplab.nn.norm import no_norm
      >>> NormRelu(no_norm).apply({}, jnp.array([-1.0, 2.0])).tolist()
      [0.0, 2.0]
    """

    norm: Norm = batch_norm

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W C"]:
        return nn.relu(self.norm(train, name="norm")(x))


@ranges.checked(width=ranges.COUNT, kernel=ranges.COUNT)
class NormConv(nn.Module):
    """W * relu(norm(x)), which keeps the sides.

    Args:
      width: Number of channels.
      kernel: Height and width of the kernel.
      norm: Constructor of the norm.

    Example:
      >>> import jax
      >>> layer, x = NormConv(width=6, kernel=3), jnp.ones((2, 5, 5, 4))
      >>> jax.eval_shape(layer.init_with_output, jax.random.key(0), x)[0].shape
      (2, 5, 5, 6)
    """

    width: int
    kernel: int
    norm: Norm = batch_norm

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W D"]:
        x = nn.relu(self.norm(train, name="norm")(x))
        size, pads = (self.kernel, self.kernel), centered(self.kernel)
        return nn.Conv(self.width, size, padding=pads, use_bias=False, kernel_init=INIT, name="conv")(x)


class DenseLayer(nn.Module):
    """x beside grow(narrow(x)).

    Args:
      narrow: Block to few channels, of 1 x 1.
      grow: Block to the channels that the layer adds, of 3 x 3.

    Example:
      >>> import jax
      >>> layer, x = DenseLayer(NormConv(16, 1), NormConv(6, 3)), jnp.ones((2, 5, 5, 4))
      >>> jax.eval_shape(layer.init_with_output, jax.random.key(0), x)[0].shape  # 4 + 6 channels
      (2, 5, 5, 10)
    """

    narrow: nn.Module
    grow: nn.Module

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W D"]:
        return jnp.concatenate([x, self.grow(self.narrow(x, train), train)], axis=-1)


class Transition(nn.Module):
    """The mean of each square of 2 x 2 places of reduce(x).

    Example:
      >>> import jax
      >>> layer, x = Transition(NormConv(2, 1)), jnp.ones((2, 6, 6, 4))
      >>> jax.eval_shape(layer.init_with_output, jax.random.key(0), x)[0].shape
      (2, 3, 3, 2)
    """

    reduce: nn.Module

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        return nn.avg_pool(self.reduce(x, train), (2, 2), (2, 2))


def DenseNet(
    *,
    num_classes: int | None = None,
    depths: Sequence[int],
    growth: int = 32,
    norm: Norm = batch_norm,
    dropout: float = 0.0,
) -> ConvNet:
    """Images [B, H, W, C] to logits of classes.

    Args:
      num_classes: K; the model gives the pooled features when None.
      depths: Numbers of layers of the stages, between which the channels and the sides are halved.
      growth: k, number of channels that a layer adds to the 2 k of the stem.
      norm: Constructor of the norms; see `deeplab.nn.norm`.
      dropout: Dropout probability of the pooled features in training; may be a tracer.

    Example:
      >>> import jax
      >>> model = DenseNet(num_classes=10, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 10)
    """
    width, stages = 2 * growth, []
    stages.append((ConvNorm(width, 7, 2, norm=norm), MaxPool(3, 2, pad=1)))
    for stage, depth in enumerate(depths):
        blocks: list[nn.Module] = []
        if stage:
            width //= 2
            blocks.append(Transition(NormConv(width, 1, norm)))
        for _ in range(depth):
            blocks.append(DenseLayer(NormConv(4 * growth, 1, norm), NormConv(growth, 3, norm)))
        width += depth * growth
        stages.append(tuple(blocks))
    stages[-1] = (*stages[-1], NormRelu(norm))
    return ConvNet(Trunk(tuple(stages), tuple(range(1, len(stages)))), MapHead(num_classes, dropout=dropout))


def _arguments(config: Config) -> dict[str, Any]:
    return configs.variant(config, ARCHITECTURES, {"block_config": "depths", "growth_rate": "growth"})


def _model(config: Config) -> ConvNet:
    return DenseNet(num_classes=config.get("num_classes", 1000) or None, **_arguments(config))


def _names(config: Config) -> Names:
    rules: tuple[Rule, ...] = _block("trunk/stages_0_0", "features.{}0")
    depths = _arguments(config)["depths"]
    for stage, depth in enumerate(depths, start=1):
        shift = int(stage > 1)
        if shift:
            rules += _block(f"trunk/stages_{stage}_0/reduce", f"features.transition{stage - 1}.{{}}")
        for i in range(depth):
            ours, theirs = f"trunk/stages_{stage}_{i + shift}", f"features.denseblock{stage}.denselayer{i + 1}"
            rules += _block(f"{ours}/narrow", f"{theirs}.{{}}1") + _block(f"{ours}/grow", f"{theirs}.{{}}2")
    last = f"trunk/stages_{len(depths)}_{depths[-1] + int(len(depths) > 1)}"
    rules += names_of_norm(f"{last}/norm", "features.norm5")
    return Names((*rules, *linear("head/classes", "classifier", True)), heads=(r"^classifier\.",))


def _block(ours: str, theirs: str) -> tuple[Rule, ...]:
    """A norm and a convolution, by the pattern of their names."""
    return names_of_norm(f"{ours}/norm", theirs.format("norm")) + conv(f"{ours}/conv", theirs.format("conv"))


FAMILY = Family(_model, _names, configs.timm_inputs)

# Huang et al. 2016, table 1; 161 is that of section 4.4, with k = 48.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"depths": (2, 1), "growth": 4},
    "121": {"depths": (6, 12, 24, 16)},
    "161": {"depths": (6, 12, 36, 24), "growth": 48},
    "169": {"depths": (6, 12, 32, 32)},
    "201": {"depths": (6, 12, 48, 32)},
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    f"densenet{name}": sizes for name, sizes in VARIANTS.items() if name != "test"
}
