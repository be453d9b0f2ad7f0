"""CLIP, SigLIP and SigLIP 2: their configs, and the names of their tensors."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under, within
from deeplab.models.multimodal.towers import (
    Tower,
    TwoTowerEncoder,
    attending_tower,
    class_tower,
    pair_inputs,
    text_tower,
)
from deeplab.nn.parts.heads import final, last
from deeplab.nn.upsampling import bilinear


def _any_size(config: Config) -> bool:
    """Whether images keep their aspect, as in SigLIP 2's own layout."""
    return config["model_type"] == "siglip2_vision_model"


def _size(config: Config) -> tuple[int, int]:
    """Height and width of the image whose patches have the learned positions, in pixels."""
    if not _any_size(config):
        return configs.image_size(config)
    side = math.isqrt(config.get("num_patches", 256)) * config.get("patch_size", 16)
    return side, side


def _tower(config: Config, clip: bool) -> Tower:
    return Tower(
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["hidden_size"],
        config["intermediate_size"],
        configs.activation(config.get("hidden_act", "quick_gelu" if clip else "gelu_pytorch_tanh")),
        config.get("layer_norm_eps", 1e-5 if clip else 1e-6),
    )


def _text(config: Config, clip: bool, projection: int | None) -> TransformerEncoder:
    sizes = {"vocab_size": config["vocab_size"], "context": config["max_position_embeddings"]}
    if not clip:
        width = config.get("projection_size") or config["hidden_size"]
        return text_tower(_tower(config, clip), **sizes, read=final, causal=False, projection=width, bias=True)
    end = config.get("eos_token_id", 49_407)
    end = config["vocab_size"] - 1 if end == 2 else end  # of configs before transformers 4.31, whose end is another
    return text_tower(_tower(config, clip), **sizes, read=last, causal=True, end=end, projection=projection)


def _vision(config: Config, clip: bool, projection: int | None) -> TransformerEncoder:
    sizes: dict[str, Any] = {"size": _size(config), "patch": config.get("patch_size", 32 if clip else 16)}
    if clip:
        return class_tower(_tower(config, clip), **sizes, projection=projection)
    configs.only(config, vision_use_head=True)
    return attending_tower(_tower(config, clip), **sizes, resize=bilinear if _any_size(config) else None)


def _model(config: Config) -> nn.Module:
    kind, named = config["model_type"], (config.get("architectures") or [""])[0]
    clip = kind.startswith("clip")
    alone = config.get("projection_dim", 512) if named.endswith("WithProjection") else None
    if kind.endswith("text_model"):
        return _text(config, clip, alone)
    if kind.endswith("vision_model"):
        return _vision(config, clip, alone)
    shared = config.get("projection_dim", 512)
    towers = _vision(config["vision_config"], clip, shared), _text(config["text_config"], clip, shared)
    return TwoTowerEncoder(*towers) if clip else TwoTowerEncoder(*towers, scale=2.3026, bias=-10.0)


def _layers(stem: str, number: int) -> tuple[Rule, ...]:
    kernels = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
    layer = (
        *(rule for ours, theirs in kernels for rule in linear(f"attention/{ours}", f"self_attn.{theirs}", True)),
        *linear("feed_forward/up", "mlp.fc1", True),
        *linear("feed_forward/down", "mlp.fc2", True),
        *norm("norm1", "layer_norm1", bias=True),
        *norm("norm2", "layer_norm2", bias=True),
    )
    return under("blocks", f"{stem}encoder.layers", range(number), layer)


def _text_names(stem: str, config: Config, projection: str) -> tuple[Rule, ...]:
    return (
        *one("embed/tokens/embedding", f"{stem}embeddings.token_embedding.weight"),
        *one("embed/tokens/positions/embedding", f"{stem}embeddings.position_embedding.weight"),
        *_layers(stem, config["num_hidden_layers"]),
        *norm("norm", f"{stem}final_layer_norm", bias=True),
        *linear("head/pool/projection", projection, True),
    )


def _vision_names(stem: str, config: Config, clip: bool) -> tuple[Rule, ...]:
    heads, pool = ("query", "key", "value"), "head/pool"
    cut: dict[str, Any] = {"cut": "p", "parts": (1, 1, 1), "sizes": (("d", config["hidden_size"]),)}
    rest = (
        Rule(
            tuple(f"{pool}/{h}/kernel" for h in heads),
            f"{stem}head.attention.in_proj_weight",
            "(p d) c -> c (p d)",
            **cut,
        ),
        Rule(tuple(f"{pool}/{h}/bias" for h in heads), f"{stem}head.attention.in_proj_bias", "(p d) -> (p d)", **cut),
        Rule((f"{pool}/probe",), f"{stem}head.probe", "u v d -> (u v) d", sizes=(("u", 1), ("v", 1))),
        *linear(f"{pool}/out", f"{stem}head.attention.out_proj", True),
        *norm(f"{pool}/norm", f"{stem}head.layernorm", bias=True),
        *linear(f"{pool}/feed_forward/up", f"{stem}head.mlp.fc1", True),
        *linear(f"{pool}/feed_forward/down", f"{stem}head.mlp.fc2", True),
        *norm("norm", f"{stem}post_layernorm", bias=True),
    )
    if clip:
        rest = (
            *one("embed/class", f"{stem}embeddings.class_embedding"),
            *norm("embed/norm", f"{stem}pre_layrnorm", bias=True),  # so spelt in the files
            *norm("head/pool/norm", f"{stem}post_layernorm", bias=True),
            *norm("head/pool/pool/norm", f"{stem}post_layernorm", bias=True),
            *linear("head/pool/projection", "visual_projection"),
        )
    name, sides = f"{stem}embeddings.patch_embedding.weight", config.get("patch_size", 16)
    embedding = Rule(("embed/kernel",), name, "d c p q -> p q c d")
    if _any_size(config):  # a linear map of a patch, whose pixels come row by row
        embedding = Rule(("embed/kernel",), name, "d (p q c) -> p q c d", sizes=(("p", sides), ("q", sides)))
    return (
        embedding,
        *one("embed/bias", f"{stem}embeddings.patch_embedding.bias"),
        *one("embed/positions", f"{stem}embeddings.position_embedding.weight"),
        *_layers(stem, config["num_hidden_layers"]),
        *rest,
    )


def _names(config: Config) -> Names:
    kind, named = config["model_type"], (config.get("architectures") or [""])[0]
    clip, ignored = kind.startswith("clip"), (r"embeddings\.position_ids$",)
    stem = "" if named.endswith(("TextModel", "VisionModel")) else "{}_model."
    if kind.endswith("text_model"):
        stem = stem.format("text")
        return Names(
            _text_names(stem, config, "text_projection" if clip else f"{stem}head"), "text_model.", (), ignored
        )
    if kind.endswith("vision_model"):
        return Names(_vision_names(stem.format("vision"), config, clip), "vision_model.", (), ignored)
    text = _text_names("text_model.", config["text_config"], "text_projection" if clip else "text_model.head")
    vision = _vision_names("vision_model.", config["vision_config"], clip)
    scalar = "" if clip else "u -> "
    rules = (
        *within("vision", vision),
        *within("text", text),
        Rule(("scale",), "logit_scale", scalar, sizes=(("u", 1),)),
        Rule(("bias",), "logit_bias", scalar, sizes=(("u", 1),)),
    )
    return Names(rules, "", (), ignored)


def _inputs(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    kind = config["model_type"]
    if kind.endswith("text_model"):
        return (jax.ShapeDtypeStruct((1, 1), jnp.int32),)
    vision = config.get("vision_config", config)
    image = (jax.ShapeDtypeStruct((1, *_size(vision), vision.get("num_channels", 3)), jnp.float32),)
    return image if kind.endswith("vision_model") else pair_inputs(image)


def _seen(config: Config, names: Collection[str]) -> Config:
    """Older files of CLIP say the towers twice; `..._config_dict` counts."""
    del names
    sides = ("text_config", "vision_config") if config["model_type"] == "clip" else ()
    twice = [side for side in sides if config.get(f"{side}_dict")]
    return {**config, **{side: {**config.get(side, {}), **config[f"{side}_dict"]} for side in twice}}


FAMILY = Family(_model, _names, _inputs, seen=_seen)
