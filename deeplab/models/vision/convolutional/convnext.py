"""ConvNeXt 1 and 2.

Liu et al. 2022, "A ConvNet for the 2020s", https://arxiv.org/abs/2201.03545; Woo et al. 2023, "ConvNeXt V2:
co-designing and scaling ConvNets with masked autoencoders", https://arxiv.org/abs/2301.00808.
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
from deeplab.models.foreign import Family, Names, Rule, conv, linear, norm, one, pointwise
from deeplab.models.vision.convolutional.network import ConvNet, MapHead, Trunk
from deeplab.nn.activations import gelu
from deeplab.nn.depthwise import depthwise
from deeplab.nn.norm import LayerScale, ResponseNorm, layer_norm
from deeplab.nn.parts.convolution import Patches, drop_path
from deeplab.nn.transformer import INIT

RULES = (
    (r"up/kernel", P(None, "model")),
    (r"(down|classes)/kernel", P("model", None)),
)


class ConvNeXtNet(ConvNet):
    """A `ConvNet` of ConvNeXt's blocks, whose linear layers are split over devices by their hidden units.

    Example:
      >>> tuple(dict(ConvNeXt(**VARIANTS["test"]).rules)["up/kernel"])
      (None, 'model')
    """

    rules = RULES


@ranges.checked(hidden=ranges.COUNT, drop=ranges.RATE)
class Block(nn.Module):
    """x + scale W_2 response(gelu(W_1 norm(depthwise(x)))).

    Args:
      hidden: Number of columns of W_1.
      response: Norm of the hidden units, if any.
      scale: Factor of each channel, if any.
      norm: Norm of what W_1 reads.
      drop: Probability that an example leaves the branch out in training; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> block, x = Block(16, response=None, scale=LayerScale(0.0), norm=layer_norm()), jnp.ones((1, 4, 4, 8))
      >>> y, _ = jax.jit(block.init_with_output)(jax.random.key(0), x)
      >>> bool((y == x).all())  # a factor of 0 leaves the stream as it is
      True
    """

    hidden: int
    response: nn.Module | None
    scale: nn.Module | None
    norm: nn.Module
    drop: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W C"]:
        C = x.shape[-1]
        y = self.norm(depthwise(C, 7, kernel_init=INIT, name="depthwise")(x))
        y = gelu(nn.Dense(self.hidden, kernel_init=INIT, name="up")(y))
        y = y if self.response is None else self.response(y)
        y = nn.Dense(C, kernel_init=INIT, name="down")(y)
        return x + drop_path(y if self.scale is None else self.scale(y), self.drop, train)


def ConvNeXt(
    *,
    num_classes: int | None = None,
    depths: Sequence[int],
    widths: Sequence[int],
    second: bool = False,
    epsilon: float = 1e-6,
    dropout: float = 0.0,
    drop: float = 0.1,
) -> ConvNeXtNet:
    """Images [B, H, W, C] to logits of classes.

    Args:
      num_classes: K; the model gives the pooled features when None.
      depths: Numbers of blocks of the stages.
      widths: Numbers of channels of the stages.
      second: Whether it is ConvNeXt 2: a norm of responses in the place of the factor of each channel.
      epsilon: Number added to the variance in norms.
      dropout: Dropout probability of the pooled features in training; may be a tracer.
      drop: Probability of leaving out the last block in training; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = ConvNeXt(num_classes=10, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 10)
    """
    last, found = max(sum(depths) - 1, 1), []
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        side = 2 if stage else 4
        blocks: list[nn.Module] = [Patches(width, side, side, layer_norm(epsilon), first=stage > 0)]
        for number in range(sum(depths[:stage]), sum(depths[:stage]) + depth):
            response, scale = (ResponseNorm(), None) if second else (None, LayerScale(1e-6))
            blocks.append(Block(4 * width, response, scale, layer_norm(epsilon), drop=drop * number / last))
        found.append(tuple(blocks))
    trunk = Trunk(tuple(found), tuple(range(len(depths))))
    return ConvNeXtNet(trunk, MapHead(num_classes, after=layer_norm(epsilon), dropout=dropout))


def _arguments(config: Config) -> dict[str, Any]:
    return configs.variant(config, ARCHITECTURES, {"depths": "depths", "dims": "widths"})


def _model(config: Config) -> ConvNeXtNet:
    return ConvNeXt(num_classes=config.get("num_classes", 1000) or None, **_arguments(config))


def _names(config: Config) -> Names:
    chosen, rules = _arguments(config), ()
    dense = pointwise if config["architecture"].rpartition("_")[2] in _POINTWISE else _linear
    for stage, depth in enumerate(chosen["depths"]):
        ours = f"trunk/stages_{stage}"
        first = ("stem.1", "stem.0") if stage == 0 else (f"stages.{stage}.downsample.0", f"stages.{stage}.downsample.1")
        rules += (*norm(f"{ours}_0/norm", first[0], bias=True), *conv(f"{ours}_0/conv", first[1], bias=True))
        for i in range(depth):
            block, theirs = f"{ours}_{i + 1}", f"stages.{stage}.blocks.{i}"
            rules += conv(f"{block}/depthwise", f"{theirs}.conv_dw", bias=True)
            rules += norm(f"{block}/norm", f"{theirs}.norm", bias=True)
            rules += dense(f"{block}/up", f"{theirs}.mlp.fc1")
            rules += norm(f"{block}/response", f"{theirs}.mlp.grn", bias=True)
            rules += dense(f"{block}/down", f"{theirs}.mlp.fc2")
            rules += one(f"{block}/scale/scale", f"{theirs}.gamma")
    head = (*norm("head/after", "head.norm", bias=True), *linear("head/classes", "head.fc", True))
    return Names((*rules, *head), heads=(r"^head\.",))


def _linear(ours: str, theirs: str) -> tuple[Rule, ...]:
    return linear(ours, theirs, True)


FAMILY = Family(_model, _names, configs.timm_inputs)

# Liu et al. 2022, section 3; Woo et al. 2023, appendix A.1.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"depths": (1, 1, 1, 1), "widths": (8, 12, 16, 24)},
    "atto": {"depths": (2, 2, 6, 2), "widths": (40, 80, 160, 320)},
    "femto": {"depths": (2, 2, 6, 2), "widths": (48, 96, 192, 384)},
    "pico": {"depths": (2, 2, 6, 2), "widths": (64, 128, 256, 512)},
    "nano": {"depths": (2, 2, 8, 2), "widths": (80, 160, 320, 640)},
    "tiny": {"depths": (3, 3, 9, 3), "widths": (96, 192, 384, 768)},
    "small": {"depths": (3, 3, 27, 3), "widths": (96, 192, 384, 768)},
    "base": {"depths": (3, 3, 27, 3), "widths": (128, 256, 512, 1024)},
    "large": {"depths": (3, 3, 27, 3), "widths": (192, 384, 768, 1536)},
    "xlarge": {"depths": (3, 3, 27, 3), "widths": (256, 512, 1024, 2048)},
    "huge": {"depths": (3, 3, 27, 3), "widths": (352, 704, 1408, 2816)},
}

_POINTWISE = ("atto", "femto", "pico", "nano")
"""Those whose linear layers are 1 x 1 convolutions in timm's files."""
_FIRST = [name for name in VARIANTS if name not in ("test", "huge")]
_SECOND = [name for name in VARIANTS if name not in ("test", "xlarge")]
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{f"convnext_{name}": VARIANTS[name] for name in _FIRST},
    **{f"convnextv2_{name}": {**VARIANTS[name], "second": True} for name in _SECOND},
}
