"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.models import (
        attention_rnn,
        autorec,
        bilstm,
        cifarnet,
        cnn,
        conformer,
        deep_speech,
        dlinear,
        encoder,
        factorisation,
        gpt,
        keyword_cnn,
        linknet,
        llama,
        lstm_forecaster,
        mlp,
        neumf,
        patchtst,
        resnet,
        sasrec,
        tcn,
        text_cnn,
        transformer,
        two_tower,
        unet,
    )
    from deeplab.models.attention_rnn import AttentionRNN
    from deeplab.models.autorec import AutoRec
    from deeplab.models.bilstm import BiLSTM
    from deeplab.models.cifarnet import CifarNet
    from deeplab.models.cnn import CNN
    from deeplab.models.conformer import Conformer
    from deeplab.models.deep_speech import DeepSpeech2
    from deeplab.models.dlinear import DLinear
    from deeplab.models.encoder import Encoder
    from deeplab.models.factorisation import Factorisation
    from deeplab.models.gpt import GPT
    from deeplab.models.keyword_cnn import KeywordCNN
    from deeplab.models.linknet import LinkNet
    from deeplab.models.llama import Llama
    from deeplab.models.lstm_forecaster import LSTMForecaster
    from deeplab.models.mlp import MLP
    from deeplab.models.neumf import NeuMF
    from deeplab.models.patchtst import PatchTST
    from deeplab.models.resnet import ResNet
    from deeplab.models.sasrec import SASRec
    from deeplab.models.tcn import TCN
    from deeplab.models.text_cnn import TextCNN
    from deeplab.models.transformer import Transformer
    from deeplab.models.two_tower import TwoTower
    from deeplab.models.unet import UNet

_HOMES = {
    "AttentionRNN": "attention_rnn",
    "AutoRec": "autorec",
    "BiLSTM": "bilstm",
    "CifarNet": "cifarnet",
    "CNN": "cnn",
    "Conformer": "conformer",
    "DeepSpeech2": "deep_speech",
    "DLinear": "dlinear",
    "Encoder": "encoder",
    "Factorisation": "factorisation",
    "GPT": "gpt",
    "KeywordCNN": "keyword_cnn",
    "LinkNet": "linknet",
    "Llama": "llama",
    "LSTMForecaster": "lstm_forecaster",
    "MLP": "mlp",
    "NeuMF": "neumf",
    "PatchTST": "patchtst",
    "ResNet": "resnet",
    "SASRec": "sasrec",
    "TCN": "tcn",
    "TextCNN": "text_cnn",
    "Transformer": "transformer",
    "TwoTower": "two_tower",
    "UNet": "unet",
}

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "TCN",
    "AttentionRNN",
    "AutoRec",
    "BiLSTM",
    "CifarNet",
    "Conformer",
    "DLinear",
    "DeepSpeech2",
    "Encoder",
    "Factorisation",
    "KeywordCNN",
    "LSTMForecaster",
    "LinkNet",
    "Llama",
    "NeuMF",
    "PatchTST",
    "ResNet",
    "SASRec",
    "TextCNN",
    "Transformer",
    "TwoTower",
    "UNet",
    "attention_rnn",
    "autorec",
    "bilstm",
    "cifarnet",
    "cnn",
    "conformer",
    "deep_speech",
    "dlinear",
    "encoder",
    "factorisation",
    "gpt",
    "keyword_cnn",
    "linknet",
    "llama",
    "lstm_forecaster",
    "mlp",
    "neumf",
    "patchtst",
    "resnet",
    "sasrec",
    "tcn",
    "text_cnn",
    "transformer",
    "two_tower",
    "unet",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return __all__
