"""Normalization layers as an argument of a model.

Batch normalization differs between training and evaluation, group normalization does not. A block should not depend on
which it uses, so a model takes a function `(train, name) -> layer`, a `Norm`.

Example:
  >>> from deeplab.models import ResNet
  >>> model = ResNet(stage_sizes=(1, 1), num_classes=10, norm=group_norm)
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.precision import widened


class Norm(Protocol):
    """Constructor of a normalization layer.

    Args:
      train: Whether the call is part of training.
      name: Name of the layer.
      init: Further arguments of the layer, such as `scale_init`. Zeros make a residual branch start at zero.

    Example:
      >>> slow: Norm = functools.partial(batch_norm, momentum=0.99)
      >>> slow(train=True, name="norm1").momentum
      0.99
    """

    def __call__(self, train: bool, name: str, **init: Any) -> nn.Module: ...


def batch_norm(train: bool, name: str, *, momentum: float = 0.9, epsilon: float = 1e-5, **init: Any) -> nn.Module:
    """Normalizes each channel over the batch and space.

    Training uses the mean and variance of the batch. Evaluation uses running statistics, r <- m r + (1 - m) batch with
    the momentum m, which are kept in the collection `batch_stats`. On a mesh the batch is that of all devices.

    Example:
      >>> layer, x = batch_norm(True, "norm"), jnp.array([[1.0], [3.0]])
      >>> y, variables = layer.init_with_output(jax.random.key(0), x)
      >>> y.round(3).tolist(), variables["batch_stats"]["mean"].tolist()  # which init leaves alone
      ([[-1.0], [1.0]], [0.0])

    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.
    """
    return nn.BatchNorm(use_running_average=not train, momentum=momentum, epsilon=epsilon, name=name, **init)


tensorflow_norm: Norm = functools.partial(batch_norm, momentum=0.99, epsilon=1e-3)
"""`batch_norm` with the defaults of TensorFlow, which networks have that were published there."""


def group_norm(train: bool, name: str, **init: Any) -> nn.Module:
    """Normalizes groups of 8 channels over space, separately for each example.

    Example:
      >>> x = jnp.repeat(jnp.array([[1.0, 3.0, 10.0, 30.0]]), 4, axis=1)  # two groups
      >>> y, _ = group_norm(True, "norm").init_with_output(jax.random.key(0), x)
      >>> y[0, ::4].round(3).tolist()
      [-1.0, 1.0, -1.0, 1.0]

    Source: Wu and He 2018, https://arxiv.org/abs/1803.08494.
    """
    del train
    return nn.GroupNorm(num_groups=None, group_size=8, epsilon=1e-5, name=name, **init)


class Identity(nn.Module):
    """The identity, as a named tap.

    Example:
      >>> Identity().apply({}, jnp.array([3.0])).tolist()
      [3.0]
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def no_norm(train: bool, name: str, **init: Any) -> nn.Module:
    """No normalization.

    Example:
      >>> no_norm(True, "norm").apply({}, jnp.array([3.0])).tolist()
      [3.0]
    """
    del train, init
    return Identity(name=name)


class OffsetRMSNorm(nn.Module):
    """x / rms(x) * (1 + scale), in float32: the scale starts as zeros, and weight decay leads to 1.

    Args:
      epsilon: Number added to the mean square.

    Example:
      >>> normed = OffsetRMSNorm().init_with_output(jax.random.key(0), jnp.array([3.0, 4.0]))[0]
      >>> [round(float(x), 2) for x in normed]
      [0.85, 1.13]

    Source: Gemma Team 2024, https://arxiv.org/abs/2403.08295; the form is that of their code.
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],))
        wide = widened(x)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.epsilon)
        return (normed * (1 + scale.astype(wide.dtype)).reshape(*[1] * (x.ndim - 1), -1)).astype(x.dtype)


class GroupedRMSNorm(nn.Module):
    """x / rms(x) * scale, where each group of channels has an rms of its own.

    Args:
      groups: Number of groups.
      epsilon: Number added to the mean square.

    Example:
      >>> y, _ = GroupedRMSNorm(groups=2).init_with_output(jax.random.key(0), jnp.array([3.0, -3.0, 50.0, 50.0]))
      >>> y.round(3).tolist()
      [1.0, -1.0, 1.0, 1.0]
    """

    groups: int = 1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        wide = x.astype(jnp.float32).reshape(*x.shape[:-1], self.groups, -1)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.epsilon)
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        return normed.reshape(x.shape).astype(x.dtype) * scale.reshape(*[1] * (x.ndim - 1), -1)


class LayerScale(nn.Module):
    """x * scale, where a branch joins the residual stream (Touvron et al. 2021, https://arxiv.org/abs/2103.17239).

    Args:
      start: First value of the scale.

    Example:
      >>> LayerScale(0.5).init_with_output(jax.random.key(0), jnp.array([2.0, 4.0]))[0].tolist()
      [1.0, 2.0]
    """

    start: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        scale = self.param("scale", nn.initializers.constant(self.start), (x.shape[-1],))
        return x * scale.reshape(*[1] * (x.ndim - 1), -1)


class ResponseNorm(nn.Module):
    """x + scale x g / mean(g) + bias, where g is each channel's norm over space; the scale starts as zeros.

    Args:
      epsilon: Number added to the mean.

    Example:
      >>> params = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
      >>> y = ResponseNorm().apply({"params": params}, jnp.array([[[[3.0, 1.0]]]]))  # whose mean norm is 2
      >>> [round(float(value), 2) for value in y.ravel()]
      [7.5, 1.5]

    Source: Woo et al. 2023, "ConvNeXt V2", https://arxiv.org/abs/2301.00808, section 3.
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        C = x.shape[-1]
        scale, bias = (self.param(name, nn.initializers.zeros, (C,)).reshape(1, 1, 1, C) for name in ("scale", "bias"))
        squares = jnp.sum(jnp.square(x), axis=(1, 2), keepdims=True)
        # The gradient of a norm at 0 is not a number; that of a channel without a response is 0.
        size = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        relative = size / (jnp.mean(size, axis=-1, keepdims=True) + self.epsilon)
        return x + scale * x * relative + bias


def layer_norm(epsilon: float = 1e-5, affine: bool = True, bias: bool = True) -> nn.Module:
    """A layer norm whose variance is that of the centered values: exact where the mean is large (Ba et al. 2016).

    Args:
      epsilon: Number added to the variance.
      affine: Whether there are a scale and a bias.
      bias: Whether there is a bias, where there is a scale.

    Example:
      >>> layer_norm(affine=False).apply({}, jnp.array([99_999.0, 100_001.0])).round(3).tolist()
      [-1.0, 1.0]
    """
    return nn.LayerNorm(epsilon, use_bias=affine and bias, use_scale=affine, use_fast_variance=False)
