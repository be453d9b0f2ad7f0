"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.models import cnn, dlinear, gpt, lstm_forecaster, mlp, patchtst, resnet, resnet1d, tcn
    from deeplab.models.cnn import CNN
    from deeplab.models.dlinear import DLinear
    from deeplab.models.gpt import GPT
    from deeplab.models.lstm_forecaster import LSTMForecaster
    from deeplab.models.mlp import MLP
    from deeplab.models.patchtst import PatchTST
    from deeplab.models.resnet import ResNet
    from deeplab.models.resnet1d import ResNet1D
    from deeplab.models.tcn import TCN

_HOMES = {
    "CNN": "cnn",
    "DLinear": "dlinear",
    "GPT": "gpt",
    "LSTMForecaster": "lstm_forecaster",
    "MLP": "mlp",
    "PatchTST": "patchtst",
    "ResNet": "resnet",
    "ResNet1D": "resnet1d",
    "TCN": "tcn",
}

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "TCN",
    "DLinear",
    "LSTMForecaster",
    "PatchTST",
    "ResNet",
    "ResNet1D",
    "cnn",
    "dlinear",
    "gpt",
    "lstm_forecaster",
    "mlp",
    "patchtst",
    "resnet",
    "resnet1d",
    "tcn",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return __all__
