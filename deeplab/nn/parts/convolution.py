"""Convolutions and the blocks that networks of them share.

All blocks have the same interface, `(x, train) -> x`, so that a network is a table of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.depthwise import conv_general_dilated
from deeplab.nn.norm import Norm, batch_norm

Elementwise = Callable[[jax.Array], jax.Array]
Padding = Callable[[int], Any]
"""From the side of a kernel to the padding of `nn.Conv`."""

INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, equation 14


def centered(kernel: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros on both sides alike, as PyTorch's networks have them."""
    half = (kernel - 1) // 2
    return (half, half), (half, half)


def tensorflow(kernel: int) -> str:
    """As few zeros as give ceil(H / stride) rows, of an odd number one more at the end: TensorFlow's "SAME"."""
    del kernel
    return "SAME"


def unpadded(kernel: int) -> str:
    """No zeros."""
    del kernel
    return "VALID"


@ranges.checked(width=ranges.COUNT, kernel=ranges.COUNT, stride=ranges.COUNT, groups=ranges.COUNT)
class ConvNorm(nn.Module):
    """activation(norm(W * x)).

    Args:
      width: Number of channels.
      kernel: Height and width of the kernel.
      stride: Distance between two places where it is applied.
      groups: Number of groups of channels that know nothing of each other; all of them in a depthwise convolution.
      norm: Constructor of the norm; see `deeplab.nn.norm`.
      activation: Function of the result, if any.
      padding: Function from the kernel's side to the padding.

    Example:
      >>> layer = ConvNorm(8, kernel=3, stride=2, padding=tensorflow)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 7, 8, 3)))[0].shape
      (1, 4, 4, 8)
    """

    width: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    norm: Norm = batch_norm
    activation: Elementwise | None = nn.relu
    padding: Padding = centered

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        y = nn.Conv(
            self.width,
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            padding=self.padding(self.kernel),
            feature_group_count=self.groups,
            use_bias=False,
            kernel_init=INIT,
            conv_general_dilated=conv_general_dilated,
            name="conv",
        )(x)
        y = self.norm(train, name="norm")(y)
        return y if self.activation is None else self.activation(y)


@ranges.checked(hidden=ranges.COUNT)
class SqueezeExcite(nn.Module):
    """x gate(W_2 activation(W_1 mean(x))): channels weighted by what all of the image says.

    Args:
      hidden: Number of hidden units.
      activation: Function of the hidden units.
      gate: Function of the result, to [0, 1].

    Source: Hu et al. 2017, https://arxiv.org/abs/1709.01507.
    """

    hidden: int
    activation: Elementwise = nn.relu
    gate: Elementwise = nn.sigmoid

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H W C"]:
        del train
        y = nn.Dense(self.hidden, name="reduce")(jnp.mean(x, axis=(1, 2)))
        y = nn.Dense(x.shape[-1], name="expand")(self.activation(y))
        return x * self.gate(y)[:, None, None]


@ranges.checked(drop=ranges.RATE)
class InvertedResidual(nn.Module):
    """A narrow stream whose branches are wide: x + project(squeeze(depthwise(expand(x)))).

    Args:
      expand: Block to the width of the branch, if it has one of its own.
      depthwise: Block in which each channel is by itself.
      squeeze: Block that weights the channels, if any.
      project: Block back to the width of the stream, without an activation.
      residual: Whether x is added.
      drop: Probability that an example leaves the branch out in training; may be a tracer.

    Example:
      >>> block = InvertedResidual(ConvNorm(16), ConvNorm(16, 3, groups=16), None, ConvNorm(4, activation=None), True)
      >>> block.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 4)))[0].shape
      (1, 8, 8, 4)

    Source: Sandler et al. 2018, https://arxiv.org/abs/1801.04381.
    """

    expand: nn.Module | None
    depthwise: nn.Module
    squeeze: nn.Module | None
    project: nn.Module
    residual: bool
    drop: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        y = x
        for part in (self.expand, self.depthwise, self.squeeze, self.project):
            y = y if part is None else part(y, train)
        return x + drop_path(y, self.drop, train) if self.residual else y


def drop_path(y: Float[Array, "B ..."], rate: float, train: bool) -> Float[Array, "B ..."]:
    """A branch that some examples leave out in training, to be called within a compact method.

    Args:
      y: What the branch gives.
      rate: Probability of leaving it out; may be a tracer.
      train: Whether the call is part of training.

    Source: Huang et al. 2016, https://arxiv.org/abs/1603.09382.
    """
    dims = tuple(range(1, y.ndim))
    return nn.Dropout(rate, broadcast_dims=dims, deterministic=not train, name="drop_path")(y)
