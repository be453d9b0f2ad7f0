"""The names of Swin transformers in the files of timm and of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeplab.core.errors import UserError
from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, conv, linear, norm, one
from deeplab.models.vision.transformers import vit
from deeplab.models.vision.transformers.swin import VARIANTS, Swin, SwinNet

IGNORED = (r"relative_position_index$", r"attn_mask$")
"""What older files have besides, and the window says."""

_ARGUMENTS = {"depths": "depths", "embed_dim": "width", "num_heads": "num_heads", "window_size": "window",
              "img_size": "size", "patch_size": "patch"}  # fmt: skip


def _arguments(config: Config) -> dict[str, Any]:
    chosen = configs.variant(config, ARCHITECTURES, _ARGUMENTS)
    return {"size": configs.timm_inputs(config)[0].shape[1:3], **chosen}


def _model(config: Config) -> SwinNet:
    return Swin(num_classes=config.get("num_classes", 1000) or None, **_arguments(config))


def _names(config: Config) -> Names:
    chosen = _arguments(config)
    rules: tuple[Rule, ...] = (
        *conv("trunk/stages_0_0/conv", "patch_embed.proj", bias=True),
        *norm("trunk/stages_0_0/norm", "patch_embed.norm", bias=True),
    )
    for stage, depth in enumerate(chosen["depths"]):
        for i in range(depth):
            ours, theirs = f"trunk/stages_{stage}_{i + 1}", f"layers.{stage}.blocks.{i}"
            heads = [f"{ours}/mixer/{name}" for name in ("query", "key", "value")]
            whole: dict[str, Any] = {"cut": "p", "parts": (1, 1, 1), "sizes": (("e", chosen["width"] * 2**stage),)}
            rules += (
                Rule(
                    tuple(f"{head}/kernel" for head in heads),
                    f"{theirs}.attn.qkv.weight",
                    "(p e) c -> c (p e)",
                    **whole,
                ),
                Rule(tuple(f"{head}/bias" for head in heads), f"{theirs}.attn.qkv.bias", "(p e) -> (p e)", **whole),
                *one(f"{ours}/mixer/offsets", f"{theirs}.attn.relative_position_bias_table"),
                *linear(f"{ours}/mixer/out", f"{theirs}.attn.proj", True),
                *linear(f"{ours}/feed_forward/up", f"{theirs}.mlp.fc1", True),
                *linear(f"{ours}/feed_forward/down", f"{theirs}.mlp.fc2", True),
                *norm(f"{ours}/norm1", f"{theirs}.norm1", bias=True),
                *norm(f"{ours}/norm2", f"{theirs}.norm2", bias=True),
            )
        if stage:
            rules += _merge(stage, f"layers.{stage}.downsample")
    head = (*norm("head/before/norm", "norm", bias=True), *linear("head/classes", "head.fc", True))
    return Names((*rules, *head), heads=(r"^head\.",), ignored=IGNORED)


def _merge(stage: int, theirs: str) -> tuple[Rule, ...]:
    ours = f"trunk/stages_{stage}_0"
    return (*norm(f"{ours}/norm", f"{theirs}.norm", bias=True), *linear(f"{ours}/reduce", f"{theirs}.reduction"))


FAMILY = Family(_model, _names, configs.timm_inputs)

_384: Mapping[str, Any] = {"size": 384, "window": 12}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{f"swin_{name}_patch4_window7_224": sizes for name, sizes in VARIANTS.items() if name != "test"},
    **{f"swin_{name}_patch4_window12_384": {**VARIANTS[name], **_384} for name in ("base", "large")},
}


def _their_model(config: Config) -> SwinNet:
    what = configs.architecture(config)
    if what not in ("Model", "ImageClassification"):
        raise configs.unknown_head(config, ("Model", "ImageClassification"))
    configs.only(config, use_absolute_embeddings=False)
    depths, size, window = _depths(config), configs.image_size(config), config.get("window_size", 7)
    patch = config.get("patch_size", 4)
    if window > min(size) // patch // 2 ** (len(depths) - 1):
        raise UserError(f"the config's windows of {window} are larger than the last map of images of {size}")
    return Swin(
        num_classes=configs.num_classes(config) if what == "ImageClassification" else None,
        size=size,
        patch=patch,
        depths=depths,
        num_heads=config.get("num_heads", (3, 6, 12, 24)),
        width=config.get("embed_dim", 96),
        window=window,
        expansion=config.get("mlp_ratio", 4.0),
        activation=configs.activation(config.get("hidden_act", "gelu")),
        bias=config.get("qkv_bias", True),
        epsilon=config.get("layer_norm_eps", 1e-5),
        drop_path=config.get("drop_path_rate", 0.1),
    )


def _depths(config: Config) -> tuple[int, ...]:
    return tuple(config.get("depths", (2, 2, 6, 2)))


def _their_names(config: Config) -> Names:
    stem = "" if configs.architecture(config) == "Model" else "swin."
    rules: tuple[Rule, ...] = (
        *conv("trunk/stages_0_0/conv", f"{stem}embeddings.patch_embeddings.projection", bias=True),
        *norm("trunk/stages_0_0/norm", f"{stem}embeddings.norm", bias=True),
    )
    for stage, depth in enumerate(_depths(config)):
        for i in range(depth):
            ours, theirs = f"trunk/stages_{stage}_{i + 1}", f"{stem}encoder.layers.{stage}.blocks.{i}"
            for name in ("query", "key", "value"):
                rules += linear(f"{ours}/mixer/{name}", f"{theirs}.attention.self.{name}", True)
            rules += (
                *one(f"{ours}/mixer/offsets", f"{theirs}.attention.self.relative_position_bias_table"),
                *linear(f"{ours}/mixer/out", f"{theirs}.attention.output.dense", True),
                *linear(f"{ours}/feed_forward/up", f"{theirs}.intermediate.dense", True),
                *linear(f"{ours}/feed_forward/down", f"{theirs}.output.dense", True),
                *norm(f"{ours}/norm1", f"{theirs}.layernorm_before", bias=True),
                *norm(f"{ours}/norm2", f"{theirs}.layernorm_after", bias=True),
            )
        rules += _merge(stage + 1, f"{stem}encoder.layers.{stage}.downsample")
    head = (*norm("head/before/norm", f"{stem}layernorm", bias=True), *linear("head/classes", "classifier", True))
    return Names((*rules, *head), "swin.", heads=(r"^classifier\.",), ignored=IGNORED)


TRANSFORMERS = Family(_their_model, _their_names, vit.FAMILY.inputs, classifier="ImageClassification")
