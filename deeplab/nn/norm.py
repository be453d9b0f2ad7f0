"""Normalization as an argument: a `Norm` makes the layer, told whether it is training.

Batch statistics differ between training and evaluation and group statistics do not, but a block should not know which
it was given. So a model takes a function `(train, name) -> layer`.

Example:
  >>> from deeplab.models import ResNet
  >>> model = ResNet(stage_sizes=(1, 1), num_classes=10, norm=group_norm)
"""

from __future__ import annotations

from typing import Any, Protocol

import flax.linen as nn
import jax


class Norm(Protocol):
    """Makes a normalization layer.

    Args:
      train: whether the call is one of training.
      name: of the layer.
      scale_init: initial scale; ones when not given. Zeros make a residual branch start as nothing.
    """

    def __call__(self, train: bool, name: str, **init: Any) -> nn.Module: ...


def batch_norm(train: bool, name: str, *, momentum: float = 0.9, **init: Any) -> nn.Module:
    """Normalizes each channel over the batch and space (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167).

    In training by the batch's mean and variance, in evaluation by running ones: r <- m r + (1 - m) batch with the
    momentum m, kept in the collection `batch_stats`. On a mesh the batch is the whole one, over all devices.
    """
    return nn.BatchNorm(use_running_average=not train, momentum=momentum, epsilon=1e-5, name=name, **init)


def group_norm(train: bool, name: str, **init: Any) -> nn.Module:
    """Normalizes groups of 8 channels over space, each example by itself (Wu and He 2018, https://arxiv.org/abs/1803.08494)."""
    del train
    return nn.GroupNorm(num_groups=None, group_size=8, epsilon=1e-5, name=name, **init)


class Identity(nn.Module):
    """Returns its input: a named tap."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def no_norm(train: bool, name: str, **init: Any) -> nn.Module:
    """No normalization."""
    del train, init
    return Identity(name=name)
