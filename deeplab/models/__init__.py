"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.models import autorec, cnn, factorisation, gpt, mlp, neumf, resnet, sasrec, two_tower
    from deeplab.models.autorec import AutoRec
    from deeplab.models.cnn import CNN
    from deeplab.models.factorisation import Factorisation
    from deeplab.models.gpt import GPT
    from deeplab.models.mlp import MLP
    from deeplab.models.neumf import NeuMF
    from deeplab.models.resnet import ResNet
    from deeplab.models.sasrec import SASRec
    from deeplab.models.two_tower import TwoTower

_HOMES = {
    "AutoRec": "autorec",
    "CNN": "cnn",
    "Factorisation": "factorisation",
    "GPT": "gpt",
    "MLP": "mlp",
    "NeuMF": "neumf",
    "ResNet": "resnet",
    "SASRec": "sasrec",
    "TwoTower": "two_tower",
}

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "AutoRec",
    "Factorisation",
    "NeuMF",
    "ResNet",
    "SASRec",
    "TwoTower",
    "autorec",
    "cnn",
    "factorisation",
    "gpt",
    "mlp",
    "neumf",
    "resnet",
    "sasrec",
    "two_tower",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return __all__
