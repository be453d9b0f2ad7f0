"""Linear recurrences h_t = a_t h_(t-1) + x_t as functions of whole sequences, and of their continuation.

Parts of a sequence follow one another in a scan, and within a part all positions are computed at once: by an
associative scan (Martin and Cundy 2017, https://arxiv.org/abs/1709.04057), or by products of matrices. The gradient
computes each part again, so that memory grows with a part's states and not with all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

PART = 64
"""Positions that are computed at once on an accelerator, and by products of matrices."""

CPU_PART = 4
"""Positions of an associative scan that a CPU computes at once: the gradient of 256 positions of 512 channels takes
0.14 s of CPU time and 20 MiB so, with 16 of them 0.26 s and 37 MiB, with 64 0.35 s and 147 MiB."""

_NEUTRAL = (0.0, 0.0, 0.0, 0.0, 1.0)
"""What fills the last part: a rate of 0 leaves the state as it is."""


def linear_scan(
    decay: Inexact[Array, "B T D"], x: Inexact[Array, "B T D"], initial: Inexact[Array, "B D"], part: int | None = None
) -> tuple[Inexact[Array, "B T D"], Inexact[Array, "B D"]]:
    """All states h_t = decay_t h_(t-1) + x_t, and the last.

    Args:
      decay: Factor of the state before each position.
      x: What each position adds.
      initial: State before the first position.
      part: Number of positions that are computed at once; that of the device's kind when None.

    Example:
      >>> states, last = linear_scan(jnp.full((1, 3, 1), 0.5), jnp.ones((1, 3, 1)), jnp.zeros((1, 1)))
      >>> states.ravel().tolist(), last.tolist()
      ([1.0, 1.5, 1.75], [[1.75]])
    """

    def one(state: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        states = _within(*at, state)
        return states[:, -1], states

    last, states = _in_parts(one, initial, (decay, x), part or _usual(), neutral=(1.0, 0.0))
    return states, last


def _usual() -> int:
    return CPU_PART if jax.default_backend() == "cpu" else PART


def _within(decay: jax.Array, x: jax.Array, state: jax.Array) -> jax.Array:
    """The states of one part, [B, C, *S]."""

    def join(left: tuple[jax.Array, jax.Array], right: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return left[0] * right[0], right[0] * left[1] + right[1]

    kept, added = jax.lax.associative_scan(join, (decay, x), axis=1)
    return kept * state[:, None] + added


def _in_parts(step: Callable[..., Any], initial: Any, arrays: Any, part: int, neutral: tuple[float, ...]) -> Any:
    """The scan of `step` over parts of [B, T, ...]; the last part is filled with numbers that leave the state alone."""
    T = arrays[0].shape[1]
    size = min(part, T)
    fill = -T % size

    def cut(x: jax.Array, value: float) -> jax.Array:
        widths = ((0, 0), (0, fill), *[(0, 0)] * (x.ndim - 2))
        x = jnp.pad(x, widths, constant_values=value) if fill else x
        return x.reshape(x.shape[0], -1, size, *x.shape[2:]).swapaxes(0, 1)  # B (n c) ... -> n B c ...

    parts = tuple(cut(x, value) for x, value in zip(arrays, neutral, strict=True))
    last, out = jax.lax.scan(jax.checkpoint(step), initial, parts)
    out = out.swapaxes(0, 1)
    return last, out.reshape(out.shape[0], -1, *out.shape[3:])[:, :T]


def selective_scan(
    x: Float[Array, "B T D"],
    rate: Float[Array, "B T D"],
    decay: Float[Array, "D N"],
    write: Float[Array, "B T N"],
    read: Float[Array, "B T N"],
    initial: Float[Array, "B D N"],
    kept: Float[Array, "B T"] | None = None,
    part: int | None = None,
) -> tuple[Float[Array, "B T D"], Float[Array, "B D N"]]:
    """y_t = read_t h_t with h_t = exp(rate_t decay) h_(t-1) + rate_t write_t x_t, a state of N numbers a channel.

    Args:
      x: Inputs of D channels.
      rate: How much of a position each channel takes up; 0 leaves the state as it is.
      decay: Exponents of the state's decay, negative.
      write: What an input adds to the state.
      read: What is read from the state.
      initial: State before the first position.
      kept: 0 where a sequence begins, at which nothing is kept of the state; 1 elsewhere.
      part: Number of positions that are computed at once; that of the device's kind when None.

    Returns:
      Outputs, and the last state.

    Example:
      >>> ones, decay = jnp.ones((1, 3, 1)), jnp.log(jnp.full((1, 1), 0.5))
      >>> y, last = selective_scan(ones, ones, decay, ones, ones, initial=jnp.zeros((1, 1, 1)))
      >>> [round(float(value), 2) for value in y.ravel()], round(last.item(), 2)
      ([1.0, 1.5, 1.75], 1.75)

    Source: Gu and Dao 2023, "Mamba", https://arxiv.org/abs/2312.00752, section 3.
    """

    def one(state: jax.Array, at: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        x, rate, write, read, kept = at
        factor = jnp.exp(rate[..., None] * decay[None, None]) * kept[..., None, None]
        states = _within(factor, (rate * x)[..., None] * write[:, :, None], state)
        return states[:, -1], jnp.einsum("bcdn,bcn->bcd", states, read)

    arrays = (x, rate, write, read, jnp.ones(x.shape[:2], x.dtype) if kept is None else kept)
    last, y = _in_parts(one, initial, arrays, part or _usual(), neutral=_NEUTRAL)
    return y, last


def dual_scan(
    x: Float[Array, "B T H P"],
    rate: Float[Array, "B T H"],
    decay: Float[Array, " H"],
    write: Float[Array, "B T H N"],
    read: Float[Array, "B T H N"],
    initial: Float[Array, "B H P N"],
    kept: Float[Array, "B T"] | None = None,
    part: int = PART,
) -> tuple[Float[Array, "B T H P"], Float[Array, "B H P N"]]:
    """`selective_scan` of H heads of P channels, whose states decay alike: products of matrices within a part.

    Args:
      x: Inputs.
      rate: How much of a position each head takes up; 0 leaves the state as it is.
      decay: Exponent of each head's decay, negative.
      write: What an input adds to the state.
      read: What is read from the state.
      initial: State before the first position.
      kept: 0 where a sequence begins, at which nothing is kept of the state; 1 elsewhere.
      part: Number of positions that are computed at once.

    Returns:
      Outputs, and the last state.

    Example:
      >>> heads, ones = jnp.ones((1, 3, 1)), jnp.ones((1, 3, 1, 1))
      >>> y, _ = dual_scan(ones, heads, jnp.log(jnp.array([0.5])), ones, ones, initial=jnp.zeros((1, 1, 1, 1)))
      >>> [round(float(value), 2) for value in y.ravel()]
      [1.0, 1.5, 1.75]

    Source: Dao and Gu 2024, "Transformers are SSMs", https://arxiv.org/abs/2405.21060, section 6.
    """

    def one(state: jax.Array, at: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        x, rate, write, read, kept = at
        log = jnp.cumsum(rate * decay[None, None], axis=1)  # B C H, of the product of all decays up to a position
        number = jnp.cumsum(1 - kept, axis=1)  # B C, of the sequence that a position belongs to
        C = x.shape[1]
        earlier = jnp.tril(jnp.ones((C, C), bool))[None] & (number[:, :, None] == number[:, None])
        between = jnp.where(earlier[..., None], log[:, :, None] - log[:, None], -jnp.inf)  # B C C H, to from
        weight = jnp.exp(between) * jnp.einsum("bthn,bshn->btsh", read, write)
        taken = rate[..., None] * x
        y = jnp.einsum("btsh,bshp->bthp", weight, taken)
        since = jnp.exp(log) * (number == 0)[..., None]  # B C H, of what is kept of the state before the part
        y = y + jnp.einsum("bthn,bhpn,bth->bthp", read, state, since)
        left = jnp.exp(log[:, -1:] - log) * (number == number[:, -1:])[..., None]
        new = jnp.einsum("bshn,bshp,bsh->bhpn", write, taken, left)
        return since[:, -1, :, None, None] * state + new, y

    arrays = (x, rate, write, read, jnp.ones(x.shape[:2], x.dtype) if kept is None else kept)
    last, y = _in_parts(one, initial, arrays, part, neutral=_NEUTRAL)
    return y, last


def causal_convolution(
    x: Float[Array, "B T D"],
    kernel: Float[Array, "K D"],
    before: Float[Array, "B J D"],
    positions: Any = None,
) -> tuple[Float[Array, "B T D"], Float[Array, "B J D"]]:
    """Each channel's sum over its last K inputs, J = K - 1 of which came before; and the last J of all.

    Args:
      x: Inputs.
      kernel: Weights, the last of which is that of the position itself.
      before: Inputs before the first position, zeros at the beginning.
      positions: Position of each input in its sequence [B, T], where several share a row: none reads another's.

    Example:
      >>> y, last = causal_convolution(jnp.ones((1, 3, 1)), jnp.ones((2, 1)), jnp.zeros((1, 1, 1)))
      >>> y.ravel().tolist(), last.ravel().tolist()
      ([1.0, 2.0, 2.0], [1.0])
    """
    K, T = len(kernel), x.shape[1]
    whole = jnp.concatenate([before.astype(x.dtype), x], axis=1)
    y = jnp.zeros_like(x)
    for k in range(K):
        back = K - 1 - k
        tap = whole[:, k : k + T]
        if positions is not None and back:
            tap = jnp.where((positions >= back)[..., None], tap, 0)
        y = y + tap * kernel[k][None, None]
    return y, whole[:, T:]
