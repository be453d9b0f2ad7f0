"""Vision transformers, and DeiT with its token of a teacher.

Dosovitskiy et al. 2020, "An image is worth 16x16 words", https://arxiv.org/abs/2010.11929; Touvron et al. 2020,
"Training data-efficient image transformers", https://arxiv.org/abs/2012.12877.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.nn.activations import gelu
from deeplab.nn.attention.grouped import GroupedQueryAttention
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.heads import Classifier, Pooled, Read, States, first
from deeplab.nn.parts.inputs import PatchEmbedding
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.wiring import PreNorm
from deeplab.nn.transformer import INIT


def ViT(
    *,
    num_classes: int | None = None,
    size: int | tuple[int, int] = 224,
    patch: int = 16,
    num_layers: int,
    num_heads: int,
    width: int,
    hidden: int,
    special: Sequence[str] = ("class",),
    read: Read = first,
    head: nn.Module | None = None,
    activation: Elementwise = gelu,
    bias: bool = True,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    epsilon: float = 1e-6,
    remat: str = "none",
) -> TransformerEncoder:
    """Images [B, H, W, C] to logits of classes, or to the states of patches after those of special tokens.

    Args:
      num_classes: K; the model gives an `Encoded` when None.
      size: Height and width of an image in pixels.
      patch: Height and width of a patch in pixels.
      num_layers: L.
      num_heads: H.
      width: D, of the residual stream.
      hidden: Units of the feed-forward layers.
      special: Names of the tokens before the patches.
      read: Function that reads the states for the classes.
      head: Another head; see `deeplab.nn.parts.heads`.
      activation: Function of the hidden units.
      bias: Whether queries, keys and values have biases.
      dropout: Dropout probability in training: of the embeddings and of each branch; may be a tracer.
      attention_dropout: Probability of dropping an attention probability in training; may be a tracer.
      epsilon: Number added to the variance in norms.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = ViT(num_classes=10, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 16, 16, 3)))[0].shape
      (2, 10)
    """
    height, wide = (size, size) if isinstance(size, int) else size

    def block(kind: None) -> nn.Module:
        del kind
        attention = GroupedQueryAttention(
            num_heads, num_heads, causal=False, use_bias=bias, out_bias=True, dropout=attention_dropout,
            kernel_init=INIT, out_init=INIT,
        )  # fmt: skip
        feed_forward = Plain(hidden, activation)
        return PreNorm(attention, feed_forward, layer_norm(epsilon), layer_norm(epsilon), drop=nn.Dropout(dropout))

    grid = (height // patch, wide // patch)
    if head is None:
        head = States() if num_classes is None else Classifier(num_classes, Pooled(read))
    return TransformerEncoder(
        PatchEmbedding(patch, width, grid, tuple(special), dropout=dropout),
        stacks=stacks([None] * num_layers, block),
        norm=layer_norm(epsilon),
        head=head,
        remat=remat,
    )


@ranges.checked(num_classes=ranges.COUNT)
class TaughtClassifier(nn.Module):
    """The mean of the logits of a class token and of a teacher's token: DeiT's, after its training.

    Args:
      num_classes: K.

    Example:
      >>> sizes = {**VARIANTS["test"], "special": ("class", "taught")}
      >>> model = ViT(head=TaughtClassifier(num_classes=3), **sizes)
      >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((2, 16, 16, 3)))
      >>> logits.shape, sorted(variables["params"]["head"])
      ((2, 3), ['classes', 'taught'])
    """

    num_classes: int

    @nn.compact
    def __call__(self, encoded: Any, embed: nn.Module, train: bool) -> Any:
        del embed, train
        logits = [
            nn.Dense(self.num_classes, kernel_init=INIT, name=name)(encoded.states[:, i])
            for i, name in enumerate(("classes", "taught"))
        ]
        return (logits[0] + logits[1]) / 2


def _model(config: Config) -> TransformerEncoder:
    what, width = configs.architecture(config), config["hidden_size"]
    head: nn.Module | None = None
    if what == "Model":
        head = States(Pooled(width=config.get("pooler_output_size") or width, activation=jnp.tanh))
        configs.only(config, pooler_act="tanh")
    elif what == "ImageClassificationWithTeacher":
        head = TaughtClassifier(configs.num_classes(config))
    elif what != "ImageClassification":
        raise configs.unknown_head(config, ("Model", "ImageClassification", "ImageClassificationWithTeacher"))
    return ViT(
        num_classes=None if what == "Model" else configs.num_classes(config),
        size=configs.image_size(config),
        patch=config.get("patch_size", 16),
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        width=width,
        hidden=config["intermediate_size"],
        special=_special(config),
        head=head,
        activation=configs.activation(config.get("hidden_act", "gelu")),
        bias=config.get("qkv_bias", True),
        epsilon=config.get("layer_norm_eps", 1e-12),
    )


def blocks(stem: str, number: int, rest: tuple[Rule, ...], bias: bool) -> tuple[Rule, ...]:
    """The rules of a vision transformer's layers: the attention's, and the rest of a layer.

    Example:
      >>> rule = blocks("vit.", 12, (), bias=True)[0]
      >>> rule.ours, rule.theirs
      (('blocks/attention/query/kernel[i]',), 'vit.encoder.layer.{i}.attention.attention.query.weight')
    """
    heads = tuple(
        rule
        for name in ("query", "key", "value")
        for rule in linear(f"attention/{name}", f"attention.attention.{name}", bias)
    )
    layer = (*heads, *linear("attention/out", "attention.output.dense", True), *rest)
    return under("blocks", f"{stem}encoder.layer", range(number), layer)


def _special(config: Config) -> tuple[str, ...]:
    return ("class", "taught") if config["model_type"] == "deit" else ("class",)


def embeddings(stem: str) -> tuple[Rule, ...]:
    """The rules of a patch embedding and of its special tokens.

    Example:
      >>> rule = embeddings("vit.")[0]
      >>> rule.ours, rule.theirs, rule.axes
      (('embed/class',), 'vit.embeddings.cls_token', 'u v d -> (u v d)')
    """
    ones = (("u", 1), ("v", 1))
    return (
        Rule(("embed/class",), f"{stem}embeddings.cls_token", "u v d -> (u v d)", sizes=ones),
        Rule(("embed/taught",), f"{stem}embeddings.distillation_token", "u v d -> (u v d)", sizes=ones),
        *one("embed/kernel", f"{stem}embeddings.patch_embeddings.projection.weight", "d c p q -> p q c d"),
        *one("embed/bias", f"{stem}embeddings.patch_embeddings.projection.bias"),
        Rule(("embed/positions",), f"{stem}embeddings.position_embeddings", "u t d -> (u t) d", sizes=ones[:1]),
    )


def _names(config: Config) -> Names:
    kind = config["model_type"]
    stem = "" if configs.architecture(config) == "Model" else f"{kind}."
    rest = (
        *linear("feed_forward/up", "intermediate.dense", True),
        *linear("feed_forward/down", "output.dense", True),
        *norm("norm1", "layernorm_before", bias=True),
        *norm("norm2", "layernorm_after", bias=True),
    )
    rules = (
        *embeddings(stem),
        *blocks(stem, config["num_hidden_layers"], rest, config.get("qkv_bias", True)),
        *norm("norm", f"{stem}layernorm", bias=True),
        *linear("head/pool/dense", f"{stem}pooler.dense", True),
    )
    taught = configs.architecture(config).endswith("WithTeacher")
    rules += linear("head/classes", "cls_classifier" if taught else "classifier", True)
    rules += linear("head/taught", "distillation_classifier", True)
    return Names(rules, f"{kind}.", heads=(r"^(cls_|distillation_)?classifier\.", r"(^|\.)pooler\."))


def _images(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    return (jax.ShapeDtypeStruct((1, *configs.image_size(config), config.get("num_channels", 3)), jnp.float32),)


FAMILY = Family(_model, _names, _images, classifier="ImageClassification")

# Dosovitskiy et al. 2020, table 1; Touvron et al. 2020, table 1, "tiny" and "small".
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"size": 16, "patch": 4, "num_layers": 2, "num_heads": 2, "width": 32, "hidden": 64},
    "tiny": {"num_layers": 12, "num_heads": 3, "width": 192, "hidden": 768},
    "small": {"num_layers": 12, "num_heads": 6, "width": 384, "hidden": 1536},
    "base": {"num_layers": 12, "num_heads": 12, "width": 768, "hidden": 3072},
    "large": {"num_layers": 24, "num_heads": 16, "width": 1024, "hidden": 4096},
    "huge": {"patch": 14, "num_layers": 32, "num_heads": 16, "width": 1280, "hidden": 5120},
}
