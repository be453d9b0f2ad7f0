"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.models import cifarnet, cnn, gpt, linknet, mlp, resnet, unet
    from deeplab.models.cifarnet import CifarNet
    from deeplab.models.cnn import CNN
    from deeplab.models.gpt import GPT
    from deeplab.models.linknet import LinkNet
    from deeplab.models.mlp import MLP
    from deeplab.models.resnet import ResNet
    from deeplab.models.unet import UNet

_HOMES = {
    "CNN": "cnn",
    "CifarNet": "cifarnet",
    "GPT": "gpt",
    "LinkNet": "linknet",
    "MLP": "mlp",
    "ResNet": "resnet",
    "UNet": "unet",
}

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "CifarNet",
    "LinkNet",
    "ResNet",
    "UNet",
    "cifarnet",
    "cnn",
    "gpt",
    "linknet",
    "mlp",
    "resnet",
    "unet",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return __all__
