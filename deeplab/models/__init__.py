"""Architectures, one family per file: the module, its VARIANTS (sizes, after the paper), its RULES (sharding)."""

from deeplab.models.cnn import CNN
# GPT later
from deeplab.models.mlp import MLP
from deeplab.models.resnet import ResNet

__all__ = ["CNN", "MLP", "ResNet"]
