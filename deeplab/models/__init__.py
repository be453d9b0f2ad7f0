"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.models import cnn, conformer, deep_speech, gpt, keyword_cnn, mlp, resnet
    from deeplab.models.cnn import CNN
    from deeplab.models.conformer import Conformer
    from deeplab.models.deep_speech import DeepSpeech2
    from deeplab.models.gpt import GPT
    from deeplab.models.keyword_cnn import KeywordCNN
    from deeplab.models.mlp import MLP
    from deeplab.models.resnet import ResNet

_HOMES = {
    "CNN": "cnn",
    "Conformer": "conformer",
    "DeepSpeech2": "deep_speech",
    "GPT": "gpt",
    "KeywordCNN": "keyword_cnn",
    "MLP": "mlp",
    "ResNet": "resnet",
}

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "Conformer",
    "DeepSpeech2",
    "KeywordCNN",
    "ResNet",
    "cnn",
    "conformer",
    "deep_speech",
    "gpt",
    "keyword_cnn",
    "mlp",
    "resnet",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return __all__
