"""Which family reads which `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeplab.core.errors import UserError, nearest
from deeplab.models.foreign import Family
from deeplab.models.text.decoders import llama

# The name is another library's, and stands in a file: the one place where a string chooses code.
FAMILIES: dict[str, Family] = {
    "llama": llama.FAMILY,
    "mistral": llama.FAMILY,
    "smollm3": llama.FAMILY,
}


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a config.

    Raises:
      UserError: Its `model_type` is not supported, or its weights are quantized.
    """
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise UserError(f"config.json: model_type {kind!r} is not supported; {nearest(str(kind), FAMILIES)}")
    if config.get("quantization_config"):
        raise UserError("config.json: the weights are quantized; load and save them dequantized by transformers first")
    return FAMILIES[kind]
