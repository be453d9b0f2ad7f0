"""CLIP and SigLIP: the towers' sizes; see `deeplab.models.multimodal.towers`."""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models.configs import quick_gelu
from deeplab.models.multimodal.towers import Tower, TwoTowerEncoder, attending_tower, class_tower, text_tower
from deeplab.nn.parts.feed_forward import Elementwise
from deeplab.nn.parts.heads import final, last
from deeplab.nn.upsampling import bilinear


def Clip(
    *,
    vision: tuple[int, int, int, int],
    text: tuple[int, int, int, int],
    projection: int,
    size: int = 224,
    patch: int = 16,
    vocab_size: int = 49_408,
    context: int = 77,
    activation: Elementwise = quick_gelu,
    epsilon: float = 1e-5,
) -> TwoTowerEncoder:
    """Images and texts to how well they belong together: called as (image, tokens).

    Args:
      vision: Layers, heads, width and hidden units of the encoder of images.
      text: Those of the encoder of texts.
      projection: Width of the space that both share.
      size: Height and width of an image in pixels.
      patch: Height and width of a patch in pixels.
      vocab_size: V; the last token ends a text.
      context: Longest text, in tokens.
      activation: Function of the hidden units.
      epsilon: Number added to the variance in norms.

    Example:
      >>> Clip(**VARIANTS["test"]).scale
      2.6592
    """
    parts = activation, epsilon
    return TwoTowerEncoder(
        class_tower(Tower(*vision, *parts), size=(size, size), patch=patch, projection=projection),
        text_tower(
            Tower(*text, *parts), vocab_size=vocab_size, context=context, read=last, causal=True, end=vocab_size - 1,
            projection=projection,
        ),
    )  # fmt: skip


def Siglip(
    *,
    vision: tuple[int, int, int, int],
    text: tuple[int, int, int, int],
    size: int = 224,
    patch: int = 16,
    vocab_size: int = 32_000,
    context: int = 64,
    activation: Elementwise = nn.gelu,
    epsilon: float = 1e-6,
    any_size: bool = False,
) -> TwoTowerEncoder:
    """Images and texts to the log-odds that they belong together: called as (image, tokens), all texts equally long.

    Args:
      vision: Layers, heads, width and hidden units of the encoder of images.
      text: Those of the encoder of texts.
      size: Height and width of an image in pixels.
      patch: Height and width of a patch in pixels.
      vocab_size: V.
      context: Length of a text, in tokens, with its padding.
      activation: Function of the hidden units.
      epsilon: Number added to the variance in norms.
      any_size: Whether a batch may have images of any height and width in patches, as of SigLIP 2.

    Example:
      >>> Siglip(**SIGLIP_VARIANTS["test"]).bias
      -10.0
    """
    parts = activation, epsilon
    return TwoTowerEncoder(
        attending_tower(
            Tower(*vision, *parts), size=(size, size), patch=patch, resize=bilinear if any_size else None
        ),
        text_tower(
            Tower(*text, *parts), vocab_size=vocab_size, context=context, read=final, causal=False,
            projection=vision[2], bias=True,
        ),
        scale=2.3026,
        bias=-10.0,
    )  # fmt: skip


# Radford et al. 2021, tables 19 and 20.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "vision": (2, 2, 32, 64), "text": (2, 2, 24, 48), "projection": 16, "size": 16, "patch": 4, "vocab_size": 65,
        "context": 16,
    },
    "base_32": {
        "vision": (12, 12, 768, 3072), "text": (12, 8, 512, 2048), "projection": 512, "patch": 32,
    },
    "base_16": {
        "vision": (12, 12, 768, 3072), "text": (12, 8, 512, 2048), "projection": 512, "patch": 16,
    },
    "large_14": {
        "vision": (24, 16, 1024, 4096), "text": (12, 12, 768, 3072), "projection": 768, "patch": 14,
    },
}  # fmt: skip

# Zhai et al. 2023, section 4, with the sizes of the published weights.
SIGLIP_VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "vision": (2, 2, 32, 64), "text": (2, 2, 24, 48), "size": 16, "patch": 4, "vocab_size": 65, "context": 16,
    },
    "base_16": {"vision": (12, 12, 768, 3072), "text": (12, 12, 768, 3072)},
    "large_16": {"vision": (24, 16, 1024, 4096), "text": (24, 16, 1024, 4096), "size": 256},
}  # fmt: skip
