"""Which family reads which `model_type`, and which architecture of timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeplab.core.errors import UserError, nearest
from deeplab.models.foreign import Family
from deeplab.models.multimodal import clip_names
from deeplab.models.speech import wav2vec2, whisper
from deeplab.models.text.decoders import (
    deepseek,
    falcon,
    gemma,
    gpt,
    gpt_oss,
    granite,
    llama,
    mixtral,
    neox,
    olmo,
    opt,
    phi,
    qwen,
    starcoder2,
)
from deeplab.models.text.encoders import bert, distilbert, modernbert
from deeplab.models.text.recurrent import griffin, mamba
from deeplab.models.text.seq2seq import bart, t5
from deeplab.models.vision.convolutional import convnext, densenet, efficientnet, mobilenet, resnet_names, vgg
from deeplab.models.vision.segmentation import segformer
from deeplab.models.vision.transformers import dino, mixer, swin_names, vit

# The name is another library's, and stands in a file: the one place where a string chooses code.
FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("bart", "marian"), bart.FAMILY),
    **dict.fromkeys(("bert", "roberta"), bert.FAMILY),
    **dict.fromkeys(
        (f"{pair}{tower}" for pair in ("clip", "siglip", "siglip2") for tower in ("", "_text_model", "_vision_model")),
        clip_names.FAMILY,
    ),
    "deepseek_v3": deepseek.FAMILY,
    **dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit"), dino.FAMILY),
    "distilbert": distilbert.FAMILY,
    "falcon": falcon.FAMILY,
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), gemma.FAMILY),
    "gpt2": gpt.FAMILY,
    "gpt_neox": neox.FAMILY,
    "gpt_oss": gpt_oss.FAMILY,
    "granite": granite.FAMILY,
    **dict.fromkeys(("llama", "mistral", "smollm3"), llama.FAMILY),
    **dict.fromkeys(("mamba", "mamba2"), mamba.FAMILY),
    "mixtral": mixtral.FAMILY,
    "modernbert": modernbert.FAMILY,
    **dict.fromkeys(("olmo", "olmo2", "olmo3", "olmoe"), olmo.FAMILY),
    "opt": opt.FAMILY,
    **dict.fromkeys(("phi", "phi3"), phi.FAMILY),
    **dict.fromkeys(("deit", "vit"), vit.FAMILY),
    "recurrent_gemma": griffin.FAMILY,
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), qwen.FAMILY),
    "segformer": segformer.FAMILY,
    "swin": swin_names.TRANSFORMERS,
    **dict.fromkeys(("mt5", "t5"), t5.FAMILY),
    **dict.fromkeys(("hubert", "wav2vec2"), wav2vec2.FAMILY),
    "whisper": whisper.FAMILY,
    "starcoder2": starcoder2.FAMILY,
}
"""Families by the `model_type` of a config.json."""


# As timm spells them in "architecture"; each family's file has the sizes.
ARCHITECTURES: dict[str, Family] = {
    **dict.fromkeys(convnext.ARCHITECTURES, convnext.FAMILY),
    **dict.fromkeys(densenet.ARCHITECTURES, densenet.FAMILY),
    **dict.fromkeys(efficientnet.ARCHITECTURES, efficientnet.FAMILY),
    **dict.fromkeys(mixer.ARCHITECTURES, mixer.FAMILY),
    **dict.fromkeys(mobilenet.ARCHITECTURES, mobilenet.FAMILY),
    **dict.fromkeys(resnet_names.ARCHITECTURES, resnet_names.FAMILY),
    **dict.fromkeys(swin_names.ARCHITECTURES, swin_names.FAMILY),
    **dict.fromkeys(vgg.ARCHITECTURES, vgg.FAMILY),
}


def kind_of(config: Mapping[str, Any]) -> str:
    """What a config calls its model: the `model_type` of transformers, or the architecture of timm."""
    return str(config.get("model_type") or config.get("architecture"))


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a config.

    Raises:
      UserError: Its `model_type` or architecture is not supported, or its weights are quantized.

    Example:
      >>> family_of({"model_type": "gpt2"}) is FAMILIES["gpt2"]
      True
    """
    kind = kind_of(config)
    name, known = ("model_type", FAMILIES) if "architecture" not in config else ("architecture", ARCHITECTURES)
    if kind not in known:
        raise UserError(f"config.json: {name} {kind!r} is not supported; {nearest(kind, known)}")
    if config.get("quantization_config"):
        raise UserError("config.json: the weights are quantized; load and save them dequantized by transformers first")
    return known[kind]
