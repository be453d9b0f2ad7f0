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
from deeplab.nn.pooling import max_pool

Elementwise = Callable[[jax.Array], jax.Array]
Padding = Callable[[int], Any]
"""From the side of a kernel to the padding of `nn.Conv`."""

INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, equation 14


def centered(kernel: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros on both sides alike, as PyTorch's networks have them.

    Example:
      >>> centered(3)
      ((1, 1), (1, 1))
    """
    half = (kernel - 1) // 2
    return (half, half), (half, half)


def tensorflow(kernel: int) -> str:
    """As few zeros as give ceil(H / stride) rows, of an odd number one more at the end: TensorFlow's "SAME".

    Example:
      >>> tensorflow(3)
      'SAME'
    """
    del kernel
    return "SAME"


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
      use_bias: Whether the convolution has a bias, which a norm that subtracts the mean makes needless.

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
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        y = nn.Conv(
            self.width,
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            padding=self.padding(self.kernel),
            feature_group_count=self.groups,
            use_bias=self.use_bias,
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

    Example:
      >>> x = jnp.ones((1, 4, 4, 8))
      >>> y, _ = SqueezeExcite(hidden=2).init_with_output(jax.random.key(0), x)
      >>> bool((y == y[:, :1, :1]).all()), bool((y < x).all())  # one factor for each channel
      (True, True)

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


@ranges.checked(width=ranges.COUNT, side=ranges.COUNT, stride=ranges.COUNT)
class Patches(nn.Module):
    """A convolution of patches, before or after a norm.

    Args:
      width: Number of channels.
      side: Height and width of a patch.
      stride: Distance between two patches; they overlap where it is less, and each is around a place of its own.
      norm: Norm.
      first: Whether the norm comes first.
      pad: Whether what is left of a side gets zeros to make a patch; it is cut off otherwise.

    Example:
      >>> layer = Patches(8, 4, 4, nn.LayerNorm(), pad=True)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 9, 8, 3)))[0].shape
      (1, 3, 2, 8)
    """

    width: int
    side: int
    stride: int
    norm: nn.Module
    first: bool = False
    pad: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        del train
        init, half = nn.initializers.normal(0.02), self.side // 2 if self.stride < self.side else 0
        pads = [(half, half + (-length % self.side if self.pad else 0)) for length in x.shape[1:3]]
        sides, strides = (self.side, self.side), (self.stride, self.stride)
        layer = nn.Conv(self.width, sides, strides, pads, kernel_init=init, name="conv")
        return layer(self.norm(x)) if self.first else self.norm(layer(x))


@ranges.checked(window=ranges.COUNT, stride=ranges.COUNT, pad=ranges.NATURAL)
class MaxPool(nn.Module):
    """`deeplab.nn.pooling.max_pool` as a block.

    Args:
      window: Side of the windows.
      stride: Distance between windows.
      pad: Width of the border of -inf.

    Example:
      >>> MaxPool(window=2, stride=2).apply({}, jnp.arange(8.0).reshape(1, 2, 4, 1)).ravel().tolist()
      [5.0, 7.0]
    """

    window: int
    stride: int
    pad: int = 0

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 C"]:
        del train
        return max_pool(x, self.window, self.stride, ((self.pad, self.pad), (self.pad, self.pad)))


def drop_path(y: Float[Array, "B ..."], rate: float, train: bool, name: str = "drop_path") -> Float[Array, "B ..."]:
    """A branch that some examples leave out in training, to be called within a compact method.

    Args:
      y: What the branch gives.
      rate: Probability of leaving it out; may be a tracer.
      train: Whether the call is part of training.
      name: Name of the layer.

    Example:
      >>> class Branch(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, y):
      ...         return drop_path(y, 0.5, train=True)
      >>> y = Branch().apply({}, jnp.ones((8, 3)), rngs={"dropout": jax.random.key(0)})
      >>> sorted(set(y.sum(axis=1).tolist()))  # an example has none of it, or twice as much
      [0.0, 6.0]

    Source: Huang et al. 2016, https://arxiv.org/abs/1603.09382.
    """
    dims = tuple(range(1, y.ndim))
    return nn.Dropout(rate, broadcast_dims=dims, deterministic=not train, name=name)(y)
