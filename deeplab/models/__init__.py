"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.models import autorec, cnn, factorisation, gpt, mlp, resnet
    from deeplab.models.autorec import AutoRec
    from deeplab.models.cnn import CNN
    from deeplab.models.factorisation import Factorisation
    from deeplab.models.gpt import GPT
    from deeplab.models.mlp import MLP
    from deeplab.models.resnet import ResNet

_HOMES = {"CNN": "cnn", "GPT": "gpt", "MLP": "mlp", "ResNet": "resnet"}

__all__ = ["CNN", "GPT", "MLP", "ResNet", "cnn", "gpt", "mlp", "resnet"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return __all__
