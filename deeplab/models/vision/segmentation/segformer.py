"""SegFormer: a transformer of maps that get coarser, and a head of linear layers that reads all of them.

Xie et al. 2021, "SegFormer: simple and efficient design for semantic segmentation with transformers",
https://arxiv.org/abs/2105.15203.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, batch_norm, conv, linear, norm, pointwise
from deeplab.models.vision.convolutional.network import ConvNet, MapHead, Normed, Trunk
from deeplab.models.vision.transformers import vit
from deeplab.nn.activations import gelu
from deeplab.nn.attention.reduced import ReducedAttention
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.convolution import ConvNorm, Elementwise, Patches
from deeplab.nn.parts.feed_forward import MixFeedForward
from deeplab.nn.parts.metaformer import MetaBlock

RULES = (
    (r"(query|key|value|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(out|down|classes)/kernel", P("model", None)),
)


class MixNet(ConvNet):
    """A `ConvNet` of SegFormer's blocks, which are split over devices by heads and by hidden units.

    Example:
      >>> tuple(dict(MixNet.rules)["(query|key|value|up)/kernel"])
      (None, 'model')
    """

    rules = RULES


class Segmenter(nn.Module):
    """Images [B, H, W, C] to what a head makes of all features of a trunk.

    Args:
      trunk: Module from images to a tuple of features, the finest first.
      head: Module from the features to the outputs, such as `AllMLP`.

    Example:
      >>> trunk = mix_trunk(depths=(1, 1), widths=(8, 16), num_heads=(1, 2), reductions=(2, 1))
      >>> model = Segmenter(trunk, AllMLP(num_classes=10, width=4))
      >>> jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 8, 8, 10)
    """

    rules = RULES

    trunk: nn.Module
    head: nn.Module

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Any:
        return self.head(self.trunk(x, train), train)

    def features(self, x: Float[Array, "B H W C"], train: bool = False) -> tuple[Float[Array, "B H2 W2 D"], ...]:
        """The features of the trunk, the finest first."""
        return self.trunk(x, train)


@ranges.checked(num_classes=ranges.COUNT, width=ranges.COUNT, dropout=ranges.RATE)
class AllMLP(nn.Module):
    """Logits of classes at each place of the finest map: of all maps by a linear layer each, resized and fused.

    Args:
      num_classes: K.
      width: Number of channels of each map, and of what they are fused to.
      dropout: Probability of dropping a component before the classes in training; may be a tracer.

    Example:
      >>> maps = jnp.ones((1, 8, 8, 3)), jnp.ones((1, 4, 4, 5))
      >>> AllMLP(num_classes=2, width=4).init_with_output(jax.random.key(0), maps)[0].shape
      (1, 8, 8, 2)
    """

    num_classes: int
    width: int = 256
    dropout: float = 0.1

    @nn.compact
    def __call__(self, features: Sequence[Float[Array, "B H W C"]], train: bool = False) -> Float[Array, "B H W K"]:
        maps, shape = [], (*features[0].shape[:3], self.width)
        for number, x in enumerate(features):
            x = nn.Dense(self.width, name=f"project{number}")(x)
            maps.append(jax.image.resize(x, shape, "bilinear", antialias=False))
        x = ConvNorm(self.width, name="fuse")(jnp.concatenate(maps[::-1], axis=-1), train)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_classes, name="classes")(x)


def mix_trunk(
    *,
    depths: Sequence[int],
    widths: Sequence[int],
    num_heads: Sequence[int],
    reductions: Sequence[int],
    activation: Elementwise = gelu,
    drop_path: float = 0.1,
) -> Trunk:
    """Mix transformer: stages of overlapping patches, of stride 4 and then 2, and of blocks that need no positions.

    Args:
      depths: Numbers of blocks of the stages.
      widths: Numbers of channels of the stages.
      num_heads: Numbers of heads of the stages.
      reductions: R of each stage's `ReducedAttention`.
      activation: Function of the hidden units.
      drop_path: Probability of leaving out the branches of the last block in training; may be a tracer.

    Example:
      >>> trunk = mix_trunk(depths=(1, 1), widths=(8, 16), num_heads=(1, 2), reductions=(2, 1))
      >>> [x.shape for x in jax.eval_shape(trunk.init_with_output, jax.random.key(0), jnp.ones((1, 32, 32, 3)))[0]]
      [(1, 8, 8, 8), (1, 4, 4, 16)]
    """
    last, stages = max(sum(depths) - 1, 1), []
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        blocks: list[nn.Module] = [Patches(width, *((3, 2) if stage else (7, 4)), layer_norm())]
        for i in range(depth):
            R = reductions[stage]
            attention = ReducedAttention(num_heads[stage], R, layer_norm() if R > 1 else None)
            rate = drop_path * (sum(depths[:stage]) + i) / last
            feed_forward = MixFeedForward(4 * width, activation)
            blocks.append(MetaBlock(attention, feed_forward, layer_norm(), layer_norm(), rate))
        stages.append((*blocks, Normed(layer_norm())))
    return Trunk(tuple(stages), tuple(range(len(depths))))


def SegFormer(*, num_classes: int, decoder: int = 256, dropout: float = 0.1, **trunk: Any) -> Segmenter:
    """Images [B, H, W, C] to logits of classes for each place of the finest map, [B, H / 4, W / 4, K].

    The segmentation task resizes them to the labels.

    Args:
      num_classes: K.
      decoder: Number of channels of the head.
      dropout: Probability of dropping a component before the classes in training; may be a tracer.
      trunk: Arguments of `mix_trunk`.

    Example:
      >>> model = SegFormer(num_classes=10, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 8, 8, 10)
    """
    return Segmenter(mix_trunk(**trunk), AllMLP(num_classes, decoder, dropout))


def MixTransformer(*, num_classes: int | None = None, dropout: float = 0.0, **trunk: Any) -> MixNet:
    """Images [B, H, W, C] to logits of classes: the network whose trunk is SegFormer's after training on ImageNet.

    Args:
      num_classes: K; the model gives the pooled features when None.
      dropout: Dropout probability of the pooled features in training; may be a tracer.
      trunk: Arguments of `mix_trunk`.

    Example:
      >>> model = MixTransformer(num_classes=10, depths=(1, 1), widths=(8, 16), num_heads=(1, 2), reductions=(2, 1))
      >>> jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0].shape
      (2, 10)
    """
    return MixNet(mix_trunk(**trunk), MapHead(num_classes, dropout=dropout))


_WIDE = {"widths": (64, 128, 320, 512), "num_heads": (1, 2, 5, 8), "reductions": (8, 4, 2, 1)}

# Xie et al. 2021, table 6, with the four hidden units for each channel of the published weights.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"depths": (1, 1), "widths": (8, 16), "num_heads": (1, 2), "reductions": (2, 1), "decoder": 16},
    "b0": {**_WIDE, "depths": (2, 2, 2, 2), "widths": (32, 64, 160, 256)},
    "b1": {**_WIDE, "depths": (2, 2, 2, 2)},
    "b2": {**_WIDE, "depths": (3, 4, 6, 3), "decoder": 768},
    "b3": {**_WIDE, "depths": (3, 4, 18, 3), "decoder": 768},
    "b4": {**_WIDE, "depths": (3, 8, 27, 3), "decoder": 768},
    "b5": {**_WIDE, "depths": (3, 6, 40, 3), "decoder": 768},
}

_NAMES = {"depths": "depths", "widths": "hidden_sizes", "num_heads": "num_attention_heads", "reductions": "sr_ratios"}


def _model(config: Config) -> nn.Module:
    trunk: dict[str, Any] = {ours: tuple(config.get(name, VARIANTS["b0"][ours])) for ours, name in _NAMES.items()}
    stages = len(trunk["depths"])
    configs.only(config, reshape_last_stage=True, patch_sizes=[7, 3, 3, 3][:stages], strides=[4, 2, 2, 2][:stages])
    configs.only(config, mlp_ratios=[4] * stages, num_encoder_blocks=stages)
    trunk["activation"] = configs.activation(config.get("hidden_act", "gelu"))
    trunk["drop_path"] = config.get("drop_path_rate", 0.1)
    what = configs.architecture(config)
    if what == "SemanticSegmentation":
        decoder, dropout = config.get("decoder_hidden_size", 256), config.get("classifier_dropout_prob", 0.1)
        return SegFormer(num_classes=configs.num_classes(config), decoder=decoder, dropout=dropout, **trunk)
    if what not in ("Model", "ImageClassification"):
        raise configs.unknown_head(config, ("Model", "ImageClassification", "SemanticSegmentation"))
    return MixTransformer(num_classes=None if what == "Model" else configs.num_classes(config), **trunk)


def _names(config: Config) -> Names:
    what, depths = configs.architecture(config), tuple(config.get("depths", VARIANTS["b0"]["depths"]))
    stem = "encoder." if what == "Model" else "segformer.encoder."
    rules: tuple[Rule, ...] = ()
    for stage, depth in enumerate(depths):
        first = f"trunk/stages_{stage}_0", f"{stem}patch_embeddings.{stage}"
        rules += conv(f"{first[0]}/conv", f"{first[1]}.proj", bias=True)
        rules += norm(f"{first[0]}/norm", f"{first[1]}.layer_norm", bias=True)
        for i in range(depth):
            rules += _block(f"trunk/stages_{stage}_{i + 1}", f"{stem}block.{stage}.{i}")
        rules += norm(f"trunk/stages_{stage}_{depth + 1}/norm", f"{stem}layer_norm.{stage}", bias=True)
        rules += linear(f"head/project{stage}", f"decode_head.linear_c.{stage}.proj", True)
    if what == "SemanticSegmentation":
        rules += conv("head/fuse/conv", "decode_head.linear_fuse")
        rules += batch_norm("head/fuse/norm", "decode_head.batch_norm")
        rules += pointwise("head/classes", "decode_head.classifier")
    else:
        rules += linear("head/classes", "classifier", True)
    return Names(rules, "segformer.", heads=(r"^classifier\.", r"^decode_head\."))


def _block(ours: str, theirs: str) -> tuple[Rule, ...]:
    heads = ("query", "key", "value")
    return (
        *(rule for name in heads for rule in linear(f"{ours}/mixer/{name}", f"{theirs}.attention.self.{name}", True)),
        *conv(f"{ours}/mixer/reduce", f"{theirs}.attention.self.sr", bias=True),
        *norm(f"{ours}/mixer/norm", f"{theirs}.attention.self.layer_norm", bias=True),
        *linear(f"{ours}/mixer/out", f"{theirs}.attention.output.dense", True),
        *linear(f"{ours}/feed_forward/up", f"{theirs}.mlp.dense1", True),
        *conv(f"{ours}/feed_forward/depthwise", f"{theirs}.mlp.dwconv.dwconv", bias=True),
        *linear(f"{ours}/feed_forward/down", f"{theirs}.mlp.dense2", True),
        *norm(f"{ours}/norm1", f"{theirs}.layer_norm_1", bias=True),
        *norm(f"{ours}/norm2", f"{theirs}.layer_norm_2", bias=True),
    )


def _images(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    return vit.FAMILY.inputs({**config, "image_size": config.get("image_size", 224)})


FAMILY = Family(_model, _names, _images, classifier="SemanticSegmentation")
