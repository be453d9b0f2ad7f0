"""Normalization layers as an argument of a model.

Batch normalization differs between training and evaluation, group normalization does not. A block should not depend on
which it uses, so a model takes a function `(train, name) -> layer`, a `Norm`.

Example:
  >>> from deeplab.models import ResNet
  >>> model = ResNet(stage_sizes=(1, 1), num_classes=10, norm=group_norm)
"""

from __future__ import annotations

from typing import Any, Protocol

import flax.linen as nn
import jax


class Norm(Protocol):
    """Constructor of a normalization layer.

    Args:
      train: Whether the call is part of training.
      name: Name of the layer.
      init: Further arguments of the layer, such as `scale_init`. Zeros make a residual branch start at zero.
    """

    def __call__(self, train: bool, name: str, **init: Any) -> nn.Module: ...


def batch_norm(train: bool, name: str, *, momentum: float = 0.9, **init: Any) -> nn.Module:
    """Normalizes each channel over the batch and space.

    Training uses the mean and variance of the batch. Evaluation uses running statistics, r <- m r + (1 - m) batch with
    the momentum m, which are kept in the collection `batch_stats`. On a mesh the batch is that of all devices.

    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.
    """
    return nn.BatchNorm(use_running_average=not train, momentum=momentum, epsilon=1e-5, name=name, **init)


def group_norm(train: bool, name: str, **init: Any) -> nn.Module:
    """Normalizes groups of 8 channels over space, separately for each example.

    Source: Wu and He 2018, https://arxiv.org/abs/1803.08494.
    """
    del train
    return nn.GroupNorm(num_groups=None, group_size=8, epsilon=1e-5, name=name, **init)


class Identity(nn.Module):
    """The identity, as a named tap."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def no_norm(train: bool, name: str, **init: Any) -> nn.Module:
    """No normalization."""
    del train, init
    return Identity(name=name)
