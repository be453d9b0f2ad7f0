"""Recurrences whose gates read the input alone, if they have any: the RG-LRU of Griffin, the minimal GRU, the LRU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.attention.cache import Reading
from deeplab.nn.state_space.mixers import Convolution, Initializer, Recurrent, empty, fresh, starts
from deeplab.nn.state_space.scans import linear_scan
from deeplab.nn.transformer import INIT


@ranges.checked(inner=ranges.COUNT, num_heads=ranges.COUNT, width=ranges.COUNT)
class Griffin(nn.Module):
    """A convolution and a real-gated linear recurrence, times a gate.

    h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t x_t with a_t = exp(-8 softplus(l) r_t); the gates i and r are sigmoids of
    linear maps within each head. The first input of a sequence is taken whole.

    Args:
      inner: Channels of the recurrence.
      num_heads: Heads within which the gates read, whose number divides the channels.
      width: Inputs of the convolution before the recurrence.
      activation: Function of the gate.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> layer = Griffin(inner=16, num_heads=4)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 8)), Reading(jnp.arange(6)))[0].shape
      (1, 6, 8)

    Source: De et al. 2024, "Griffin", https://arxiv.org/abs/2402.19427, section 2.4.
    """

    inner: int
    num_heads: int
    width: int = 4
    activation: Callable[[jax.Array], jax.Array] = nn.gelu
    out_init: Initializer = INIT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], reading: Reading, cache: Recurrent | None = None, train: bool = False
    ) -> Any:
        del train
        known = fresh(self, x) if cache is None else cache
        gate = self.activation(nn.Dense(self.inner, kernel_init=INIT, name="gate")(x))
        u = nn.Dense(self.inner, kernel_init=INIT, name="inputs")(x)
        u, inputs = Convolution(self.width, gated=False, name="convolution")(u, known.inputs, reading)
        taken, kept = (nn.sigmoid(self._within_heads(name, u)) for name in ("input_gate", "recurrent_gate"))
        spread: Any = self.param("decay", _decays, (self.inner,))
        log = -8.0 * kept.astype(jnp.float32) * nn.softplus(spread.astype(jnp.float32))[None, None]
        begins = (jnp.broadcast_to(reading.positions, x.shape[:2]) == 0)[..., None]
        norm = jnp.where(begins, 1.0, _root(-jnp.expm1(2 * log)))
        decay = jnp.where(begins, 0.0, jnp.exp(log))
        h, state = linear_scan(decay, (u * taken).astype(jnp.float32) * norm, known.state)
        y = nn.Dense(x.shape[-1], kernel_init=self.out_init, name="out")(h.astype(x.dtype) * gate)
        return y if cache is None else (y, Recurrent(inputs, state))

    def empty_cache(self, batch_size: int, length: int, width: int, num_layers: int, dtype: Any) -> Recurrent:
        """Zeros; a state has no length."""
        del length, width, dtype
        return empty(batch_size, num_layers, (self.width - 1, self.inner), (self.inner,))

    def _within_heads(self, name: str, u: jax.Array) -> jax.Array:
        H, d = self.num_heads, u.shape[-1] // self.num_heads
        kernel: Any = self.param(f"{name}_kernel", nn.initializers.lecun_normal(batch_axis=0), (H, d, d))
        bias: Any = self.param(f"{name}_bias", nn.initializers.zeros, (H, d))
        heads = u.reshape(*u.shape[:2], H, -1)
        return (jnp.einsum("bthi,hij->bthj", heads, kernel) + bias[None, None]).reshape(u.shape)


def _decays(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    """Numbers l for which exp(-8 softplus(l)) is spread evenly from 0.9 to 0.999."""
    kept = jax.random.uniform(key, shape, dtype, 0.9, 0.999)
    return jnp.log(jnp.expm1(-jnp.log(kept) / 8))


@jax.custom_jvp
def _root(x: jax.Array) -> jax.Array:
    """The square root, with a derivative of at most 1000: the decay may be 1 in half precision."""
    return jnp.sqrt(x)


@_root.defjvp
def _root_jvp(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    return jnp.sqrt(x), dx * jax.lax.rsqrt(jnp.maximum(4 * x, 1e-6))


@ranges.checked(inner=ranges.COUNT)
class MinGRU(nn.Module):
    """h_t = (1 - z_t) h_(t-1) + z_t g(x_t) with z_t a sigmoid of x_t: a GRU whose gates do not read the state.

    Args:
      inner: Channels of the recurrence.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> layer = MinGRU(inner=16)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 8)), Reading(jnp.arange(6)))[0].shape
      (1, 6, 8)

    Source: Feng et al. 2024, "Were RNNs all we needed?", https://arxiv.org/abs/2410.01201; g as in its section 3.
    """

    inner: int
    out_init: Initializer = INIT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], reading: Reading, cache: Recurrent | None = None, train: bool = False
    ) -> Any:
        del train
        known = fresh(self, x) if cache is None else cache
        update, new = jnp.split(nn.Dense(2 * self.inner, kernel_init=INIT, name="inputs")(x), 2, axis=-1)
        z = nn.sigmoid(update.astype(jnp.float32))
        kept = 1 - z if starts(reading) is None else (1 - z) * (reading.positions > 0)[..., None]
        positive = jnp.where(new >= 0, new + 0.5, nn.sigmoid(new)).astype(jnp.float32)
        h, state = linear_scan(kept, z * positive, known.state)
        y = nn.Dense(x.shape[-1], kernel_init=self.out_init, name="out")(h.astype(x.dtype))
        return y if cache is None else (y, Recurrent(known.inputs, state))

    def empty_cache(self, batch_size: int, length: int, width: int, num_layers: int, dtype: Any) -> Recurrent:
        """Zeros; a state has no length."""
        del length, width, dtype
        return empty(batch_size, num_layers, (0, 0), (self.inner,))


@ranges.checked(inner=ranges.COUNT)
class LRU(nn.Module):
    """h_t = l h_(t-1) + g B x_t with complex numbers l within the unit circle; the output is Re(C h) + d x.

    Args:
      inner: Number of complex states.
      radii: Least and largest absolute value of l at the beginning.
      out_init: Initializer of C.

    Example:
      >>> layer = LRU(inner=16)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 8)), Reading(jnp.arange(6)))[0].shape
      (1, 6, 8)

    Source: Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences",
      https://arxiv.org/abs/2303.06349.
    """

    inner: int
    radii: tuple[float, float] = (0.9, 0.999)
    out_init: Initializer = INIT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], reading: Reading, cache: Recurrent | None = None, train: bool = False
    ) -> Any:
        del train
        known, low, high = fresh(self, x) if cache is None else cache, *(r**2 for r in self.radii)

        def radius(key: jax.Array, shape: Any) -> jax.Array:
            return jnp.log(-0.5 * jnp.log(jax.random.uniform(key, shape, minval=low, maxval=high)))

        def angle(key: jax.Array, shape: Any) -> jax.Array:
            return jnp.log(jax.random.uniform(key, shape, minval=1e-3, maxval=2 * jnp.pi))

        log = -jnp.exp(self.param("radius", radius, (self.inner,)).astype(jnp.float32))
        turn = jnp.exp(self.param("angle", angle, (self.inner,)).astype(jnp.float32))
        decay = jnp.exp(jax.lax.complex(log, turn))
        real, imaginary = jnp.split(
            nn.Dense(2 * self.inner, use_bias=False, kernel_init=INIT, name="inputs")(x), 2, axis=-1
        )
        u = jax.lax.complex(real.astype(jnp.float32), imaginary.astype(jnp.float32))
        u = u * jnp.sqrt(-jnp.expm1(2 * log))[None, None]
        at = starts(reading)
        kept = jnp.ones(x.shape[:2]) if at is None else (at > 0).astype(jnp.float32)
        h, state = linear_scan(kept[..., None] * decay[None, None], u, jax.lax.complex(*jnp.split(known.state, 2, -1)))
        both = jnp.concatenate([h.real, -h.imag], axis=-1).astype(x.dtype)
        y = nn.Dense(x.shape[-1], use_bias=False, kernel_init=self.out_init, name="out")(both)
        y = y + x * self.param("skip", nn.initializers.ones, (x.shape[-1],))[None, None]
        return y if cache is None else (y, Recurrent(known.inputs, jnp.concatenate([state.real, state.imag], -1)))

    def empty_cache(self, batch_size: int, length: int, width: int, num_layers: int, dtype: Any) -> Recurrent:
        """Zeros; a state has no length."""
        del length, width, dtype
        return empty(batch_size, num_layers, (0, 0), (2 * self.inner,))
