"""Recurrences in the place of attention: modules called as `GroupedQueryAttention` is, whose cache is a state.

All are computed in parallel over time, and continue token by token from what a `Recurrent` holds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.attention.cache import Reading
from deeplab.nn.norm import GroupedRMSNorm
from deeplab.nn.state_space.scans import causal_convolution, dual_scan, selective_scan
from deeplab.nn.transformer import INIT

Initializer = jax.nn.initializers.Initializer


class Recurrent(NamedTuple):
    """What a recurrence knows of the tokens before: float32, the batch first in every leaf.

    Attributes:
      inputs: Last inputs of the convolution.
      state: State.

    Example:
      >>> cache = Mamba(inner=16, state=4, rank=2).empty_cache(2, 99, 8, num_layers=3, dtype=None)
      >>> cache.inputs.shape, cache.state.shape  # whatever the length
      ((2, 3, 3, 16), (2, 3, 16, 4))
    """

    inputs: Float[Array, "*B J D"]
    state: Float[Array, "*B ..."]


def _rates(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    """Biases whose softplus is spread from 0.001 to 0.1, evenly in the logarithm."""
    low, high = jnp.log(1e-3), jnp.log(1e-1)
    rate = jnp.exp(jax.random.uniform(key, shape, dtype) * (high - low) + low)
    return rate + jnp.log(-jnp.expm1(-rate))


def starts(reading: Reading) -> Any:
    """The positions where several sequences share a row; None where they do not.

    Example:
      >>> packed = jnp.array([[1, 1, 2]])
      >>> starts(Reading(jnp.arange(3))), starts(Reading(jnp.array([[0, 1, 0]]), segment_ids=packed)).tolist()
      (None, [[0, 1, 0]])
    """
    return reading.positions if reading.segment_ids is not None else None


def _kept(reading: Reading) -> Any:
    """0 where a sequence begins within a row, 1 elsewhere; None where each row is one."""
    at = starts(reading)
    return None if at is None else (at > 0).astype(jnp.float32)


def _counted(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """log(1), log(2), ... along the last axis (Gu et al. 2022, https://arxiv.org/abs/2206.11893)."""
    del key
    return jnp.broadcast_to(jnp.log(jnp.arange(1.0, shape[-1] + 1)), shape)


def _wide(*arrays: Any) -> list[Any]:
    """In float32, since a state adds up over time."""
    return [x.astype(jnp.float32) for x in arrays]


def empty(batch: int, layers: int, inputs: tuple[int, ...], state: tuple[int, ...]) -> Recurrent:
    """Zeros, in the shapes of one example and one layer.

    Example:
      >>> cache = empty(batch=2, layers=3, inputs=(3, 16), state=(16, 4))
      >>> cache.inputs.shape, cache.state.shape
      ((2, 3, 3, 16), (2, 3, 16, 4))
    """
    return Recurrent(*(jnp.zeros((batch, layers, *shape), jnp.float32) for shape in (inputs, state)))


def fresh(mixer: Any, x: jax.Array) -> Recurrent:
    """What is known before the first token.

    Example:
      >>> fresh(Mamba(inner=16, state=4, rank=2), jnp.ones((2, 6, 8))).state.shape
      (2, 16, 4)
    """
    empty = mixer.empty_cache(len(x), 0, x.shape[-1], 1, jnp.float32)
    return jax.tree.map(lambda leaf: leaf[:, 0], empty)


@ranges.checked(width=ranges.COUNT)
class Convolution(nn.Module):
    """silu(causal convolution + bias), or without the silu.

    Example:
      >>> layer, x = Convolution(width=2, gated=False), jnp.array([[[1.0], [2.0]]])
      >>> params = {"kernel": jnp.array([[10.0], [1.0]]), "bias": jnp.zeros(1)}
      >>> y, last = layer.apply({"params": params}, x, jnp.array([[[5.0]]]), Reading(jnp.arange(2)))
      >>> y.ravel().tolist(), last.ravel().tolist()
      ([51.0, 12.0], [2.0])
    """

    width: int
    use_bias: bool = True
    gated: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, before: jax.Array, reading: Reading) -> tuple[jax.Array, jax.Array]:
        scale = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=0, out_axis=())
        kernel: Any = self.param("kernel", scale, (self.width, x.shape[-1]))
        y, last = causal_convolution(x, kernel, before, starts(reading))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (x.shape[-1],))[None, None]
        return (nn.silu(y) if self.gated else y), last


@ranges.checked(inner=ranges.COUNT, state=ranges.COUNT, rank=ranges.COUNT, width=ranges.COUNT)
class Mamba(nn.Module):
    """A selective state space: what is kept of the past depends on what is read.

    Args:
      inner: I, channels of the recurrence.
      state: N, numbers of state for each channel.
      rank: Rank of the map from inputs to rates.
      width: Inputs of the convolution before the recurrence.
      use_bias: Whether the maps from and to the stream have biases.
      conv_bias: Whether the convolution has a bias.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> layer = Mamba(inner=16, state=4, rank=2)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 8)), Reading(jnp.arange(6)))[0].shape
      (1, 6, 8)

    Source: Gu and Dao 2023, https://arxiv.org/abs/2312.00752.
    """

    inner: int
    state: int
    rank: int
    width: int = 4
    use_bias: bool = False
    conv_bias: bool = True
    out_init: Initializer = INIT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], reading: Reading, cache: Recurrent | None = None, train: bool = False
    ) -> Any:
        del train
        inner, N, D = self.inner, self.state, x.shape[-1]
        known = fresh(self, x) if cache is None else cache
        u, gate = jnp.split(nn.Dense(2 * inner, self.use_bias, kernel_init=INIT, name="inputs")(x), 2, axis=-1)
        u, inputs = Convolution(self.width, self.conv_bias, name="convolution")(u, known.inputs, reading)
        chosen = nn.Dense(self.rank + 2 * N, use_bias=False, kernel_init=INIT, name="select")(u)
        rate, write, read = jnp.split(chosen, (self.rank, self.rank + N), axis=-1)
        spread = nn.initializers.uniform(2 * self.rank**-0.5)
        rate = nn.Dense(inner, kernel_init=lambda *a: spread(*a) - self.rank**-0.5, bias_init=_rates, name="rate")(rate)
        decay: Any = self.param("decay_log", _counted, (inner, N))
        taken, rate, decay, write, read = _wide(u, rate, decay, write, read)
        y, state = selective_scan(taken, nn.softplus(rate), -jnp.exp(decay), write, read, known.state, _kept(reading))
        y = y.astype(x.dtype) + u * self.param("skip", nn.initializers.ones, (inner,))[None, None]
        y = nn.Dense(D, self.use_bias, kernel_init=self.out_init, name="out")(y * nn.silu(gate))
        return y if cache is None else (y, Recurrent(inputs, state))

    def empty_cache(self, batch_size: int, length: int, width: int, num_layers: int, dtype: Any) -> Recurrent:
        """Zeros; a state has no length."""
        del length, width, dtype
        return empty(batch_size, num_layers, (self.width - 1, self.inner), (self.inner, self.state))


@ranges.checked(
    num_heads=ranges.COUNT, head_dim=ranges.COUNT, state=ranges.COUNT, groups=ranges.COUNT, width=ranges.COUNT
)
class Mamba2(nn.Module):
    """A selective state space whose channels are heads that decay alike: products of matrices, not a scan.

    Args:
      num_heads: H.
      head_dim: P, channels of a head.
      state: N, numbers of state for each channel.
      groups: Heads that share what is written and read, as G groups; G divides H.
      width: Inputs of the convolution before the recurrence.
      use_bias: Whether the maps from and to the stream have biases.
      conv_bias: Whether the convolution has a bias.
      rates: Least and largest rate.
      epsilon: Number added to the mean square in the norm.
      part: Number of positions that are computed at once.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> layer = Mamba2(num_heads=4, head_dim=4, state=8)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 8)), Reading(jnp.arange(6)))[0].shape
      (1, 6, 8)

    Source: Dao and Gu 2024, https://arxiv.org/abs/2405.21060.
    """

    num_heads: int
    head_dim: int
    state: int
    groups: int = 1
    width: int = 4
    use_bias: bool = False
    conv_bias: bool = True
    rates: tuple[float, float] = (0.0, float("inf"))
    epsilon: float = 1e-5
    part: int = 64
    out_init: Initializer = INIT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], reading: Reading, cache: Recurrent | None = None, train: bool = False
    ) -> Any:
        del train
        (B, T, D), H, G, N = x.shape, self.num_heads, self.groups, self.state
        inner = H * self.head_dim
        known = fresh(self, x) if cache is None else cache
        cuts = (inner, 2 * inner + 2 * G * N)
        made = nn.Dense(cuts[1] + H, self.use_bias, kernel_init=INIT, name="inputs")(x)
        gate, both, rate = jnp.split(made, cuts, axis=-1)
        both, inputs = Convolution(self.width, self.conv_bias, name="convolution")(both, known.inputs, reading)
        u, write, read = jnp.split(both, (inner, inner + G * N), axis=-1)
        u = u.reshape(B, T, H, self.head_dim)
        write, read = (jnp.repeat(a.reshape(B, T, G, N), H // G, axis=2) for a in (write, read))
        decay: Any = self.param("decay_log", _counted, (H,))
        taken, rate, bias, decay, write, read = _wide(
            u, rate, self.param("rate_bias", _rates, (H,)), decay, write, read
        )
        rate = jnp.clip(nn.softplus(rate + bias[None, None]), *self.rates)
        y, state = dual_scan(taken, rate, -jnp.exp(decay), write, read, known.state, _kept(reading), self.part)
        y = y.astype(x.dtype) + u * self.param("skip", nn.initializers.ones, (H,))[None, None, :, None]
        y = GroupedRMSNorm(G, self.epsilon, name="norm")(y.reshape(B, T, inner) * nn.silu(gate))
        y = nn.Dense(D, self.use_bias, kernel_init=self.out_init, name="out")(y)
        return y if cache is None else (y, Recurrent(inputs, state))

    def empty_cache(self, batch_size: int, length: int, width: int, num_layers: int, dtype: Any) -> Recurrent:
        """Zeros; a state has no length."""
        del length, width, dtype
        inputs = self.num_heads * self.head_dim + 2 * self.groups * self.state
        state = (self.num_heads, self.head_dim, self.state)
        return empty(batch_size, num_layers, (self.width - 1, inputs), state)
