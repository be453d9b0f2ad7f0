"""Pooling over space and over time: with gradients that are fast on a CPU, and without what only pads."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Padding = Sequence[tuple[int, int]]


def max_pool(x: jax.Array, window: int, stride: int | None = None, padding: Padding = ((0, 0), (0, 0))) -> jax.Array:
    """The largest value in each square window, per channel.

    y[b, i, j, c] = max over 0 <= u, v < window of x[b, i * stride + u, j * stride + v, c].

    Windows that tile the input are pooled by a reshape: the gradient is then a comparison, where that of
    `nn.max_pool` is a select-and-scatter. Two convolutions with pooling, 128 images of 28 x 28, forward and backward:
    71 instead of 146 ms of CPU time. Of several equal maxima the first in the window's rows takes the gradient.

    Args:
      x: images, [B, H, W, C].
      window: side of the window.
      stride: distance between windows; `window` when None.
      padding: (low, high) of -inf for H and for W.

    Returns:
      [B, H', W', C], H' = (H + low + high - window) // stride + 1.

    Example:
      >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """
    stride = window if stride is None else stride
    batch, height, width, channels = x.shape
    padded = any(side for pair in padding for side in pair)
    if stride != window or padded or height < window or width < window:
        # Flax's annotation knows only the names of paddings; its docstring and code take pairs, too.
        return nn.max_pool(x, (window, window), (stride, stride), padding)  # pyright: ignore[reportArgumentType]
    rows, columns = height // window, width // window
    x = x[:, : rows * window, : columns * window]  # a border narrower than a window is left out, as by "VALID"
    x = x.reshape(batch, rows, window, columns, window, channels)  # [B, H', window, W', window, C]
    return _largest(_largest(x, 4), 2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _largest(x: jax.Array, axis: int) -> jax.Array:
    """The maximum over an axis, whose gradient goes to the first place that holds it.

    JAX's own goes where x equals the maximum. XLA may compute x anew for that comparison, and round it otherwise (a
    fused multiply-add): none is equal then, and the gradient is 0 / 0. A place is one whatever the rounding.
    """
    return jnp.max(x, axis=axis)


@_largest.defjvp
def _largest_jvp(axis: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    place = jnp.argmax(x, axis=axis, keepdims=True)
    held = jax.lax.broadcasted_iota(place.dtype, x.shape, axis) == place
    return _largest(x, axis), jnp.sum(jnp.where(held, dx, 0), axis=axis)


def global_mean(x: jax.Array) -> jax.Array:
    """The mean over space, [B, H, W, C] -> [B, C] (Lin et al. 2014, https://arxiv.org/abs/1312.4400).

    Example:
      >>> global_mean(jnp.ones((2, 4, 4, 3))).shape
      (2, 3)
    """
    return jnp.mean(x, axis=(1, 2))


def masked_max(x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """The largest value over time of what the mask shows; 0 where it shows nothing.

    Example:
      >>> masked_max(jnp.array([[[-2.0], [-1.0], [7.0]]]), jnp.array([[True, True, False]])).tolist()
      [[-1.0]]
    """
    largest = _largest(jnp.where(mask[..., None], x, -jnp.inf), 1)
    return jnp.where(jnp.any(mask, axis=1)[:, None], largest, 0)


def masked_mean(x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """The mean over time of what the mask shows; 0 where it shows nothing.

    Example:
      >>> masked_mean(jnp.array([[[1.0], [2.0], [9.0]]]), jnp.array([[True, True, False]])).tolist()
      [[1.5]]
    """
    total = jnp.sum(jnp.where(mask[..., None], x, 0), axis=1)
    return total / jnp.maximum(jnp.sum(mask, axis=1), 1)[:, None].astype(x.dtype)
