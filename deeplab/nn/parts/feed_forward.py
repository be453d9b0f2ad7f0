"""Feed-forward layers of transformers, applied to each position by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.depthwise import depthwise
from deeplab.nn.layout import rows
from deeplab.nn.transformer import INIT

Elementwise = Callable[[jax.Array], jax.Array]
Initializer = jax.nn.initializers.Initializer


@ranges.checked(hidden=ranges.COUNT)
class Gated(nn.Module):
    """(activation(x W_gate) * (x W_up)) W_down, through `hidden` units; SwiGLU with its default.

    Args:
      hidden: Number of hidden units.
      activation: Function of the gate.
      use_bias: Whether the three products have biases.
      kernel_init: Initializer of the kernels that lead to the hidden units.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> import jax.numpy as jnp
      >>> Gated(hidden=16).init_with_output(jax.random.key(0), jnp.ones((1, 2, 8)))[0].shape
      (1, 2, 8)

    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202.
    """

    hidden: int
    activation: Elementwise = nn.silu
    use_bias: bool = False
    kernel_init: Initializer = INIT
    out_init: Initializer = INIT

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        gate = nn.Dense(self.hidden, use_bias=self.use_bias, kernel_init=self.kernel_init, name="gate")(x)
        up = nn.Dense(self.hidden, use_bias=self.use_bias, kernel_init=self.kernel_init, name="up")(x)
        down = nn.Dense(x.shape[-1], use_bias=self.use_bias, kernel_init=self.out_init, name="down")
        return down(self.activation(gate) * up)


@ranges.checked(hidden=ranges.COUNT)
class Plain(nn.Module):
    """activation(x W_up) W_down, through `hidden` units.

    Args:
      hidden: Number of hidden units.
      activation: Function of the hidden units.
      use_bias: Whether both products have biases.
      kernel_init: Initializer of the kernel that leads to the hidden units.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> import jax.numpy as jnp
      >>> Plain(hidden=16).init_with_output(jax.random.key(0), jnp.ones((1, 2, 8)))[0].shape
      (1, 2, 8)
    """

    hidden: int
    activation: Elementwise = nn.gelu
    use_bias: bool = True
    kernel_init: Initializer = INIT
    out_init: Initializer = INIT

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        up = nn.Dense(self.hidden, use_bias=self.use_bias, kernel_init=self.kernel_init, name="up")(rows(x))
        down = nn.Dense(x.shape[-1], use_bias=self.use_bias, kernel_init=self.out_init, name="down")
        return down(self.activation(up)).reshape(x.shape)


@ranges.checked(hidden=ranges.COUNT)
class MixFeedForward(nn.Module):
    """activation(mix(x W_up)) W_down on a map, where a depthwise convolution of 3 x 3 places mixes: so positions show.

    Args:
      hidden: Number of hidden units.
      activation: Function of the hidden units.

    Example:
      >>> import jax.numpy as jnp
      >>> MixFeedForward(hidden=16).init_with_output(jax.random.key(0), jnp.ones((1, 4, 5, 8)))[0].shape
      (1, 4, 5, 8)

    Source: Xie et al. 2021, https://arxiv.org/abs/2105.15203, section 3.1.
    """

    hidden: int
    activation: Elementwise = nn.gelu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W D"]) -> Float[Array, "B H W D"]:
        y = nn.Dense(self.hidden, kernel_init=INIT, name="up")(x)
        mixed = depthwise(self.hidden, 3, kernel_init=INIT, name="depthwise")
        return nn.Dense(x.shape[-1], kernel_init=INIT, name="down")(self.activation(mixed(y)))


class OverTokens(nn.Module):
    """A feed-forward layer along the tokens, each channel by itself, which stands in the place of attention.

    Args:
      feed_forward: Module applied to the last axis, which is then that of the tokens: their number is fixed.

    Example:
      >>> import jax.numpy as jnp
      >>> OverTokens(Plain(hidden=16)).init_with_output(jax.random.key(0), jnp.ones((1, 2, 8)))[0].shape
      (1, 2, 8)

    Source: Tolstikhin et al. 2021, https://arxiv.org/abs/2105.01601.
    """

    feed_forward: nn.Module

    def __call__(
        self, x: Float[Array, "B T D"], reading: Any = None, cache: None = None, train: bool = False
    ) -> Float[Array, "B T D"]:
        del reading, cache, train
        return self.feed_forward(x.swapaxes(1, 2)).swapaxes(1, 2)
