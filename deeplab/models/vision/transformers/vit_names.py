"""The names of vision transformers and of DeiT in the files of timm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.models.vision.transformers.vit import VARIANTS, TaughtClassifier, ViT

_ARGUMENTS = {"img_size": "size", "patch_size": "patch", "embed_dim": "width", "depth": "num_layers",
              "num_heads": "num_heads"}  # fmt: skip
_TAUGHT = ("class", "taught")


def _arguments(config: Config) -> dict[str, Any]:
    chosen = configs.variant(config, ARCHITECTURES, _ARGUMENTS, pool="token")
    return {**chosen, "hidden": 4 * chosen["width"]}


def _model(config: Config) -> TransformerEncoder:
    chosen, num_classes = _arguments(config), config.get("num_classes", 1000) or None
    if num_classes is None or "special" not in chosen:
        return ViT(num_classes=num_classes, **chosen)
    return ViT(head=TaughtClassifier(num_classes), **chosen)


def _names(config: Config) -> Names:
    one_of_each: dict[str, Any] = {"sizes": (("u", 1), ("v", 1))}
    heads = [f"attention/{name}" for name in ("query", "key", "value")]
    parts: dict[str, Any] = {"cut": "p", "parts": (_arguments(config)["width"],) * 3}
    layer = (
        Rule(tuple(f"{head}/kernel" for head in heads), "attn.qkv.weight", "p c -> c p", **parts),
        Rule(tuple(f"{head}/bias" for head in heads), "attn.qkv.bias", "p -> p", **parts),
        *linear("attention/out", "attn.proj", True),
        *linear("feed_forward/up", "mlp.fc1", True),
        *linear("feed_forward/down", "mlp.fc2", True),
        *norm("norm1", "norm1", bias=True),
        *norm("norm2", "norm2", bias=True),
    )
    rules = (
        Rule(("embed/class",), "cls_token", "u v d -> (u v d)", **one_of_each),
        Rule(("embed/taught",), "dist_token", "u v d -> (u v d)", **one_of_each),
        Rule(("embed/positions",), "pos_embed", "u t d -> (u t) d", sizes=(("u", 1),)),
        *one("embed/kernel", "patch_embed.proj.weight", "d c p q -> p q c d"),
        *one("embed/bias", "patch_embed.proj.bias"),
        *under("blocks", "blocks", range(_arguments(config)["num_layers"]), layer),
        *norm("norm", "norm", bias=True),
        *linear("head/classes", "head", True),
        *linear("head/taught", "head_dist", True),
    )
    return Names(rules, heads=(r"^head(_dist)?\.",))


def _images(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    size, channels = _arguments(config)["size"], configs.timm_inputs(config)[0].shape[-1]
    return (jax.ShapeDtypeStruct((1, *configs.image_size({"image_size": size}), channels), jnp.float32),)


FAMILY = Family(_model, _names, _images)

_EACH = ((16, 224), (16, 384), (32, 224), (32, 384))
_PATCHES = {
    "tiny": _EACH[:2], "small": ((8, 224), *_EACH), "base": ((8, 224), *_EACH), "large": ((14, 224), *_EACH),
    "huge": ((14, 224),),
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    f"vit_{name}_patch{patch}_{size}": {**VARIANTS[name], "patch": patch, "size": size}
    for name, patches in _PATCHES.items()
    for patch, size in patches
} | {
    f"deit_{name}{kind}_patch16_{size}": {**VARIANTS[name], "size": size, **more}
    for name, size in (("tiny", 224), ("small", 224), ("base", 224), ("base", 384))
    for kind, more in (("", {}), ("_distilled", {"special": _TAUGHT}))
}
