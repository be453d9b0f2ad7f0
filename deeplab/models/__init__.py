"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.models import cnn, gpt, mlp, resnet, resnet1d
    from deeplab.models.cnn import CNN
    from deeplab.models.gpt import GPT
    from deeplab.models.mlp import MLP
    from deeplab.models.resnet import ResNet
    from deeplab.models.resnet1d import ResNet1D

_HOMES = {"CNN": "cnn", "GPT": "gpt", "MLP": "mlp", "ResNet": "resnet", "ResNet1D": "resnet1d"}

__all__ = ["CNN", "GPT", "MLP", "ResNet", "ResNet1D", "cnn", "gpt", "mlp", "resnet", "resnet1d"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return __all__
