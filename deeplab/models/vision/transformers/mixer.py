"""MLP-Mixer: linear layers over patches, and then over channels, in the place of attention.

Tolstikhin et al. 2021, "MLP-Mixer: an all-MLP architecture for vision", https://arxiv.org/abs/2105.01601.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, linear, norm, one, under
from deeplab.nn.activations import gelu
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import OverTokens, Plain
from deeplab.nn.parts.heads import Classifier, Pooled, States, mean
from deeplab.nn.parts.inputs import PatchEmbedding
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.wiring import PreNorm


def Mixer(
    *,
    num_classes: int | None = None,
    patch: int = 16,
    num_layers: int,
    width: int,
    dropout: float = 0.0,
    epsilon: float = 1e-6,
    remat: str = "none",
) -> TransformerEncoder:
    """Images [B, H, W, C], all of one size, to logits of classes.

    Args:
      num_classes: K; the model gives an `Encoded` when None.
      patch: Height and width of a patch in pixels.
      num_layers: L.
      width: D, number of channels; the layers over patches have D / 2 hidden units, those over channels 4 D.
      dropout: Dropout probability in training, of the embeddings and of each branch; may be a tracer.
      epsilon: Number added to the variance in norms.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Mixer(num_classes=10, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 16, 16, 3)))[0].shape
      (2, 10)
    """

    def block(kind: None) -> nn.Module:
        del kind
        patches, channels = OverTokens(Plain(width // 2, gelu)), Plain(4 * width, gelu)
        return PreNorm(patches, channels, layer_norm(epsilon), layer_norm(epsilon), drop=nn.Dropout(dropout))

    return TransformerEncoder(
        PatchEmbedding(patch, width, None, (), dropout=dropout),
        stacks=stacks([None] * num_layers, block),
        norm=layer_norm(epsilon),
        head=States(Pooled(mean)) if num_classes is None else Classifier(num_classes, Pooled(mean)),
        remat=remat,
    )


def _arguments(config: Config) -> dict[str, Any]:
    given = {"num_blocks": "num_layers", "embed_dim": "width", "patch_size": "patch", "img_size": "size"}
    return configs.variant(config, ARCHITECTURES, given)


def _model(config: Config) -> TransformerEncoder:
    chosen = {name: value for name, value in _arguments(config).items() if name != "size"}
    return Mixer(num_classes=config.get("num_classes", 1000) or None, **chosen)


def _names(config: Config) -> Names:
    layer = (
        *linear("attention/feed_forward/up", "mlp_tokens.fc1", True),
        *linear("attention/feed_forward/down", "mlp_tokens.fc2", True),
        *linear("feed_forward/up", "mlp_channels.fc1", True),
        *linear("feed_forward/down", "mlp_channels.fc2", True),
        *norm("norm1", "norm1", bias=True),
        *norm("norm2", "norm2", bias=True),
    )
    rules = (
        *one("embed/kernel", "stem.proj.weight", "d c p q -> p q c d"),
        *one("embed/bias", "stem.proj.bias"),
        *under("blocks", "blocks", range(_arguments(config)["num_layers"]), layer),
        *norm("norm", "norm", bias=True),
        *linear("head/classes", "head", True),
    )
    return Names(rules, heads=(r"^head\.",))


def _images(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    (image,) = configs.timm_inputs(config)
    sides = _arguments(config).get("size", image.shape[1:3])
    sides = (sides, sides) if isinstance(sides, int) else tuple(sides)
    return (jax.ShapeDtypeStruct((1, *sides, image.shape[3]), image.dtype),)


FAMILY = Family(_model, _names, _images)

# Tolstikhin et al. 2021, table 1.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"patch": 4, "num_layers": 2, "width": 16},
    "s32": {"patch": 32, "num_layers": 8, "width": 512},
    "s16": {"patch": 16, "num_layers": 8, "width": 512},
    "b32": {"patch": 32, "num_layers": 12, "width": 768},
    "b16": {"patch": 16, "num_layers": 12, "width": 768},
    "l32": {"patch": 32, "num_layers": 24, "width": 1024},
    "l16": {"patch": 16, "num_layers": 24, "width": 1024},
    "h14": {"patch": 14, "num_layers": 32, "width": 1280},
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    f"mixer_{name}_224": sizes for name, sizes in VARIANTS.items() if name not in ("test", "h14")
}
