"""Which family reads which `model_type`, and which architecture of timm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from deeplab.core.errors import UserError, nearest
from deeplab.models import configs
from deeplab.models.foreign import Family, Names
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
from deeplab.models.vision.transformers import dino, mixer, swin_names, vit, vit_names

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
    **dict.fromkeys(vit_names.ARCHITECTURES, vit_names.FAMILY),
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
    if not isinstance(family := known[kind], Family):
        raise UserError(f"the family of {kind!r} is {type(family).__name__}, expected a deeplab.models.foreign.Family")
    return family


def described(family: Family, config: Mapping[str, Any]) -> tuple[nn.Module, Names, Sequence[jax.ShapeDtypeStruct]]:
    """The model of a config, the names of its tensors, and the shapes of its inputs.

    Raises:
      UserError: The config says too little, or asks for what the family's model leaves out.
    """
    try:
        model, names, inputs = family.model(config), family.names(config), family.inputs(config)
    except KeyError as error:
        raise UserError(f"config.json has no {error}, which a {kind_of(config)} needs") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"config.json describes no {kind_of(config)}: {error}") from error
    for what, found, expected in (("model", model, nn.Module), ("names", names, Names)):
        if not isinstance(found, expected):
            told = f"returned {type(found).__name__}, expected {expected.__name__}"
            raise UserError(f"`{what}` of the family of a {kind_of(config)} {told}")
    return model, names, inputs


def variable_shapes(model: nn.Module, inputs: Sequence[jax.ShapeDtypeStruct]) -> Any:
    """The shapes of a model's parameters and other variables, without computing anything.

    Raises:
      UserError: Sizes contradict each other.
    """
    try:
        return jax.eval_shape(model.init, jax.random.key(0), *inputs)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"the sizes of the config's {type(model).__name__} contradict each other: {error}") from error


def headed(family: Family, config: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """The config of the same model with a head of so many classes.

    Raises:
      UserError: The number is none, or the family has no such head.
    """
    if not isinstance(num_classes, int) or num_classes < 1:
        raise UserError(f"num_classes is {num_classes!r}, expected a whole number, 1 or more")
    if "architecture" in config:
        said = {name: config.get(name) or {} for name in ("pretrained_cfg", "model_args")}
        beside = {name: {**x, "num_classes": num_classes} for name, x in said.items() if x or name == "pretrained_cfg"}
        return {**config, "num_classes": num_classes, **beside}
    if not family.classifier:
        raise UserError(
            f"num_classes is {num_classes}, but a {config['model_type']} has no head of classes; leave it out"
        )
    return configs.with_head(config, family.classifier, num_classes)
