"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.models import bilstm, cnn, encoder, gpt, mlp, resnet, text_cnn
    from deeplab.models.bilstm import BiLSTM
    from deeplab.models.cnn import CNN
    from deeplab.models.encoder import Encoder
    from deeplab.models.gpt import GPT
    from deeplab.models.mlp import MLP
    from deeplab.models.resnet import ResNet
    from deeplab.models.text_cnn import TextCNN

_HOMES = {
    "BiLSTM": "bilstm",
    "CNN": "cnn",
    "Encoder": "encoder",
    "GPT": "gpt",
    "MLP": "mlp",
    "ResNet": "resnet",
    "TextCNN": "text_cnn",
}

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "BiLSTM",
    "Encoder",
    "ResNet",
    "TextCNN",
    "bilstm",
    "cnn",
    "encoder",
    "gpt",
    "mlp",
    "resnet",
    "text_cnn",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return __all__
