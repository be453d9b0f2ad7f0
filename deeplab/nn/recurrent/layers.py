"""Recurrent layers, over the scan of `deeplab.nn.recurrent.scan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn import layout
from deeplab.nn.recurrent import scan
from deeplab.nn.recurrent.scan import Cell, State

Initializer = Callable[..., jax.Array]
Inputs = Float[Array, "B T D"]
Lengths = Int[Array, " B"] | None
Hidden = Float[Array, "B H"]


def _run(
    cell: Cell,
    x: jax.Array,
    input_kernel: jax.Array,
    kernel: jax.Array,
    biases: State,
    lengths: jax.Array | None,
    initial: State | None,
    reverse: bool,
) -> tuple[jax.Array, State]:
    """The layer as a function of its parameters: outputs [B, T, H], and the final state."""
    (B, T, D), H = x.shape, kernel.shape[0]
    if initial is None:
        initial = (jnp.zeros((B, H), x.dtype),) * cell.num_states
    # One axis of rows: on a CPU the gradient of a product with [T, B, D] copies both factors first.
    rows = x.transpose(1, 0, 2).reshape(T * B, D)  # B T D -> (T B) D
    projected = layout.whole((rows @ input_kernel).reshape(T, B, -1))
    kernel = layout.whole(kernel, 2)  # gathered once, because each time step reads it
    initial = tuple(map(layout.whole, scan.cast(initial, x.dtype)))
    mask = None if lengths is None else jnp.arange(T)[:, None, None] < lengths[None, :, None]  # [T, B, 1]
    outputs, final = scan.scan(cell, reverse, projected, kernel, biases, initial, mask)
    outputs = outputs if mask is None else jnp.where(mask, outputs, 0)
    return outputs.transpose(1, 0, 2), final


def _by_gate(init: Initializer, num_gates: int) -> Initializer:
    """Initializes the columns of each gate separately."""

    def make(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        gate = (shape[0], shape[1] // num_gates)
        return jnp.concatenate([init(k, gate, dtype) for k in jax.random.split(key, num_gates)], axis=1)

    return make


def _remember(init: Initializer) -> Initializer:
    """Adds 1 to the bias of an LSTM's forget gate."""

    def make(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        forget = jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0], dtype), shape[0] // 4)
        return init(key, shape, dtype) + forget

    return make


@ranges.checked(features=ranges.COUNT)
class LSTM(nn.Module):
    """Long short-term memory.

    i, f, g, o = W x_t + U h_{t-1} + b; c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g), h_t = sigmoid(o) tanh(c_t).

    Gates are ordered as in `torch.nn.LSTM`, whose two biases are here one, their sum. The forget gate's bias starts at
    1 (Jozefowicz et al. 2015, https://proceedings.mlr.press/v37/jozefowicz15.html). The state is float32 whatever the
    dtype of the inputs. Second derivatives work; forward mode (`jax.jvp`) works only through a gradient.

    Args:
      features: Number of hidden units H.
      dtype: Dtype of products and outputs. None means the common dtype of inputs and parameters.
      kernel_init: Initializer of W.
      recurrent_init: Initializer of U, applied to each gate separately.
      bias_init: Initializer of b.

    Example:
      >>> layer = LSTM(4)
      >>> inputs = jnp.ones((2, 5, 3)), jnp.array([5, 2])
      >>> (outputs, (h, c)), _ = jax.jit(layer.init_with_output)(jax.random.key(0), *inputs)
      >>> outputs.shape, bool((h[1] == outputs[1, 1]).all()), float(outputs[1, 2:].sum())
      ((2, 5, 4), True, 0.0)

    Source: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735.
    """

    features: int
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self, x: Inputs, lengths: Lengths = None, *, initial: tuple[Hidden, Hidden] | None = None, reverse: bool = False
    ) -> tuple[Float[Array, "B T H"], tuple[Hidden, Hidden]]:
        """Outputs, zero beyond an example's length, and the final state (h, c).

        Args:
          x: Inputs.
          lengths: Length of each example, at most T. None means T.
          initial: Initial state (h, c). None means zeros.
          reverse: Whether each example is read from its own end to its beginning.
        """
        H = self.features
        input_kernel = self.param("input_kernel", self.kernel_init, (x.shape[-1], 4 * H))
        kernel = self.param("recurrent_kernel", _by_gate(self.recurrent_init, 4), (H, 4 * H))
        bias = self.param("bias", _remember(self.bias_init), (4 * H,))
        x, input_kernel, kernel, bias = promote_dtype(x, input_kernel, kernel, bias, dtype=self.dtype)
        outputs, (h, c) = _run(
            scan.LSTM, x, input_kernel, kernel, (bias, jnp.zeros_like(bias)), lengths, initial, reverse
        )
        return outputs, (h, c)


@ranges.checked(features=ranges.COUNT)
class GRU(nn.Module):
    """Gated recurrent unit, with the reset gate after the recurrent product.

    r, z = sigmoid(W x_t + U h_{t-1} + b); n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + v)), h_t = (1 - z) n + z h_{t-1}.

    A time step is then one product, as in cuDNN. Gates are ordered as in `torch.nn.GRU`. b is the sum of its input
    biases and of the recurrent biases of r and z; v is the recurrent bias of n. For all else see `LSTM`.

    Args:
      features: Number of hidden units H.
      dtype: Dtype of products and outputs. None means the common dtype of inputs and parameters.
      kernel_init: Initializer of W.
      recurrent_init: Initializer of U, applied to each gate separately.
      bias_init: Initializer of b and v.

    Example:
      >>> (outputs, h), _ = jax.jit(GRU(4).init_with_output)(jax.random.key(0), jnp.ones((2, 5, 3)))
      >>> outputs.shape, bool((h == outputs[:, -1]).all())
      ((2, 5, 4), True)

    Source: Cho et al. 2014, https://arxiv.org/abs/1406.1078.
    """

    features: int
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self, x: Inputs, lengths: Lengths = None, *, initial: Hidden | None = None, reverse: bool = False
    ) -> tuple[Float[Array, "B T H"], Hidden]:
        """Outputs, zero beyond an example's length, and the final state h.

        Args:
          x: Inputs.
          lengths: Length of each example, at most T. None means T.
          initial: Initial state h. None means zeros.
          reverse: Whether each example is read from its own end to its beginning.
        """
        H = self.features
        input_kernel = self.param("input_kernel", self.kernel_init, (x.shape[-1], 3 * H))
        kernel = self.param("recurrent_kernel", _by_gate(self.recurrent_init, 3), (H, 3 * H))
        bias = self.param("bias", self.bias_init, (3 * H,))
        candidate = self.param("recurrent_bias", self.bias_init, (H,))
        x, input_kernel, kernel, bias, candidate = promote_dtype(
            x, input_kernel, kernel, bias, candidate, dtype=self.dtype
        )
        biases = (bias, jnp.concatenate([jnp.zeros((2 * H,), bias.dtype), candidate]))
        start = None if initial is None else (initial,)
        outputs, (h,) = _run(scan.GRU, x, input_kernel, kernel, biases, lengths, start, reverse)
        return outputs, h


class Bidirectional(nn.Module):
    """Concatenates the outputs of two layers, of which one reads each example backward.

    Args:
      forward: An `LSTM` or a `GRU`.
      backward: The layer of the other direction.

    Example:
      >>> layer = Bidirectional(GRU(4), GRU(4))
      >>> outputs, _ = jax.jit(layer.init_with_output)(jax.random.key(0), jnp.ones((2, 5, 3)), jnp.array([5, 2]))
      >>> outputs.shape
      (2, 5, 8)

    Source: Schuster and Paliwal 1997, https://doi.org/10.1109/78.650093.
    """

    forward: nn.Module
    backward: nn.Module

    @nn.compact
    def __call__(self, x: Inputs, lengths: Lengths = None) -> Float[Array, "B T 2*H"]:
        """Outputs of both directions, [B, T, 2 H], zero beyond an example's length."""
        ahead, _ = self.forward(x, lengths)
        back, _ = self.backward(x, lengths, reverse=True)
        return jnp.concatenate([ahead, back], axis=-1)
