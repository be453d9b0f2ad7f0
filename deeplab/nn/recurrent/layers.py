"""Recurrent layers at the speed of their matrix products; see `deeplab.nn.recurrent.scan` for how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from deeplab.nn import layout
from deeplab.nn.recurrent import scan
from deeplab.nn.recurrent.scan import Cell, State

Initializer = Callable[..., jax.Array]


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
    # One axis of rows, not two: the gradient of [T, B, D] times a kernel copies both factors first on a CPU.
    rows = x.transpose(1, 0, 2).reshape(T * B, D)  # B T D -> (T B) D
    projected = layout.whole((rows @ input_kernel).reshape(T, B, -1))
    kernel = layout.whole(kernel, 2)  # read at every time: gathered once
    initial = tuple(map(layout.whole, scan.cast(initial, x.dtype)))
    mask = None if lengths is None else jnp.arange(T)[:, None, None] < lengths[None, :, None]  # [T, B, 1]
    outputs, final = scan.scan(cell, reverse, projected, kernel, biases, initial, mask)
    outputs = outputs if mask is None else jnp.where(mask, outputs, 0)
    return outputs.transpose(1, 0, 2), final


def _by_gate(init: Initializer, num_gates: int) -> Initializer:
    """A kernel of which each gate's columns are initialized by themselves."""

    def make(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        gate = (shape[0], shape[1] // num_gates)
        return jnp.concatenate([init(k, gate, dtype) for k in jax.random.split(key, num_gates)], axis=1)

    return make


def _remember(init: Initializer) -> Initializer:
    """An LSTM's bias, one higher for the forget gate."""

    def make(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        forget = jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0], dtype), shape[0] // 4)
        return init(key, shape, dtype) + forget

    return make


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735).

    i, f, g, o = W x_t + U h_{t-1} + b; c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g), h_t = sigmoid(o) tanh(c_t).

    The gates' columns are in the order of `torch.nn.LSTM`, whose two biases add up to this one. The forget gate's bias
    starts at 1 (Jozefowicz et al. 2015, https://proceedings.mlr.press/v37/jozefowicz15.html). The state is carried in
    float32 whatever the inputs are. Gradients of gradients work; forward mode (`jax.jvp`) only through a gradient.

    Args:
      features: H.
      dtype: of the products and the outputs; that of inputs and parameters together when None.
      kernel_init: of W.
      recurrent_init: of U, each gate by itself.
      bias_init: of b.

    Example:
      >>> layer = LSTM(4)
      >>> inputs = jnp.ones((2, 5, 3)), jnp.array([5, 2])
      >>> (outputs, (h, c)), _ = jax.jit(layer.init_with_output)(jax.random.key(0), *inputs)
      >>> outputs.shape, bool((h[1] == outputs[1, 1]).all()), float(outputs[1, 2:].sum())
      ((2, 5, 4), True, 0.0)
    """

    features: int
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        lengths: Int[Array, " B"] | None = None,
        *,
        initial: tuple[Float[Array, "B H"], Float[Array, "B H"]] | None = None,
        reverse: bool = False,
    ) -> tuple[Float[Array, "B T H"], tuple[Float[Array, "B H"], Float[Array, "B H"]]]:
        """Outputs, zero beyond an example's length; and (h, c) after its last time, or its first when `reverse`.

        Args:
          x: inputs.
          lengths: times of each example, at most T; T when None.
          initial: (h, c) before the first time; zeros when None.
          reverse: read each example from its own end to its beginning.
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


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al. 2014, https://arxiv.org/abs/1406.1078), its reset after the recurrent product.

    r, z = sigmoid(W x_t + U h_{t-1} + b); n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + v)), h_t = (1 - z) n + z h_{t-1}.

    So a step is one product, as in cuDNN. The gates' columns are in the order of `torch.nn.GRU`; b holds its input
    biases, with the recurrent ones of r and z added, and v is the recurrent one of n. For all else see `LSTM`.

    Args:
      features: H.
      dtype: of the products and the outputs; that of inputs and parameters together when None.
      kernel_init: of W.
      recurrent_init: of U, each gate by itself.
      bias_init: of b and v.

    Example:
      >>> (outputs, h), _ = jax.jit(GRU(4).init_with_output)(jax.random.key(0), jnp.ones((2, 5, 3)))
      >>> outputs.shape, bool((h == outputs[:, -1]).all())
      ((2, 5, 4), True)
    """

    features: int
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        lengths: Int[Array, " B"] | None = None,
        *,
        initial: Float[Array, "B H"] | None = None,
        reverse: bool = False,
    ) -> tuple[Float[Array, "B T H"], Float[Array, "B H"]]:
        """Outputs, zero beyond an example's length; and h after its last time, or its first when `reverse`.

        Args:
          x: inputs.
          lengths: times of each example, at most T; T when None.
          initial: h before the first time; zeros when None.
          reverse: read each example from its own end to its beginning.
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
    """Two layers, one of which reads each example from its own end (Schuster and Paliwal 1997), side by side.

    Args:
      forward: an `LSTM` or a `GRU`.
      backward: another.

    Example:
      >>> layer = Bidirectional(GRU(4), GRU(4))
      >>> outputs, _ = jax.jit(layer.init_with_output)(jax.random.key(0), jnp.ones((2, 5, 3)), jnp.array([5, 2]))
      >>> outputs.shape
      (2, 5, 8)
    """

    forward: nn.Module
    backward: nn.Module

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], lengths: Int[Array, " B"] | None = None) -> Float[Array, "B T H"]:
        """Outputs of both, [B, T, 2 H], zero beyond an example's length."""
        ahead, _ = self.forward(x, lengths)
        back, _ = self.backward(x, lengths, reverse=True)
        return jnp.concatenate([ahead, back], axis=-1)
