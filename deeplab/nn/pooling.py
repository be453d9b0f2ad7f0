"""Pooling over space and time, with fast gradients on a CPU and with masks."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from deeplab.core import ranges
from deeplab.nn.attention.dot_product import attend
from deeplab.nn.attention.self_attention import join_heads, split_heads
from deeplab.nn.transformer import INIT

Padding = Sequence[tuple[int, int]]


def max_pool(x: jax.Array, window: int, stride: int | None = None, padding: Padding = ((0, 0), (0, 0))) -> jax.Array:
    """Maximum over square windows, per channel.

    y[b, i, j, c] = max over 0 <= u, v < window of x[b, i * stride + u, j * stride + v, c].

    Windows that tile the input are pooled by a reshape. The gradient is then a comparison; that of `nn.max_pool` is a
    select-and-scatter. Two convolutions with pooling, on 128 images of 28 x 28, take 71 instead of 146 ms of CPU time
    forward and backward. Of equal maxima, the first in row-major order gets the gradient.

    Args:
      x: Images [B, H, W, C].
      window: Side of the window.
      stride: Distance between windows. None means `window`.
      padding: Padding by -inf, (low, high) of H and of W.

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
        # Flax's annotation has only the names of paddings; its docstring and code also take pairs.
        return nn.max_pool(x, (window, window), (stride, stride), padding)  # pyright: ignore[reportArgumentType]
    rows, columns = height // window, width // window
    x = x[:, : rows * window, : columns * window]  # drop a border narrower than a window, as "VALID" does
    x = x.reshape(batch, rows, window, columns, window, channels)  # [B, H', window, W', window, C]
    return _largest(_largest(x, 4), 2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _largest(x: jax.Array, axis: int) -> jax.Array:
    """Maximum over an axis, whose gradient goes to the first position that holds it.

    The gradient of `jnp.max` goes to the entries equal to the maximum. XLA may recompute x for that comparison with
    another rounding (a fused multiply-add). Then no entry is equal, and the gradient is 0 / 0. An index does not depend
    on the rounding.
    """
    return jnp.max(x, axis=axis)


@_largest.defjvp
def _largest_jvp(axis: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    position = jnp.argmax(x, axis=axis, keepdims=True)
    is_maximum = jax.lax.broadcasted_iota(position.dtype, x.shape, axis) == position
    return _largest(x, axis), jnp.sum(jnp.where(is_maximum, dx, 0), axis=axis)


def adaptive_mean(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Means over windows that give a map of this size, [B, H, W, C] -> [B, H', W', C].

    Window i of a side has the rows from floor(i H / H') to ceil((i + 1) H / H'). Windows overlap where H' does not
    divide H; where it is larger, rows are repeated.

    Example:
      >>> adaptive_mean(jnp.arange(3.0).reshape(1, 1, 3, 1), (1, 2))[0, 0, :, 0].tolist()
      [0.5, 1.5]
    """

    def weights(given: int, wanted: int) -> np.ndarray:
        numbers, places = np.arange(wanted)[:, None], np.arange(given)[None]
        inside = (places >= numbers * given // wanted) & (places < -(-(numbers + 1) * given // wanted))
        return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)

    if x.shape[1:3] == size:
        return x
    rows, columns = (jnp.asarray(weights(*sides), x.dtype) for sides in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("bhwc,ih,jw->bijc", x, rows, columns)


def global_mean(x: jax.Array) -> jax.Array:
    """Mean over space, [B, H, W, C] -> [B, C].

    Example:
      >>> global_mean(jnp.ones((2, 4, 4, 3))).shape
      (2, 3)

    Source: Lin et al. 2014, https://arxiv.org/abs/1312.4400.
    """
    return jnp.mean(x, axis=(1, 2))


def masked_max(x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """Maximum over the positions where the mask is True; 0 if there is none.

    Example:
      >>> masked_max(jnp.array([[[-2.0], [-1.0], [7.0]]]), jnp.array([[True, True, False]])).tolist()
      [[-1.0]]
    """
    largest = _largest(jnp.where(mask[..., None], x, -jnp.inf), 1)
    return jnp.where(jnp.any(mask, axis=1)[:, None], largest, 0)


def masked_mean(x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """Mean over the positions where the mask is True; 0 if there is none.

    Example:
      >>> masked_mean(jnp.array([[[1.0], [2.0], [9.0]]]), jnp.array([[True, True, False]])).tolist()
      [[1.5]]
    """
    total = jnp.sum(jnp.where(mask[..., None], x, 0), axis=1)
    return total / jnp.maximum(jnp.sum(mask, axis=1), 1)[:, None].astype(x.dtype)


@ranges.checked(num_heads=ranges.COUNT)
class AttentionPool(nn.Module):
    """What a learned query attends to, y, and y + feed_forward(norm(y)).

    Args:
      num_heads: H.
      feed_forward: Module applied to the result.
      norm: Norm of what it reads.

    Example:
      >>> layer = AttentionPool(num_heads=2, feed_forward=nn.Dense(8), norm=nn.LayerNorm())
      >>> x, mask = jax.random.normal(jax.random.key(1), (1, 3, 8)), jnp.array([[True, True, False]])
      >>> y, variables = layer.init_with_output(jax.random.key(0), x, mask)
      >>> y.shape, bool((layer.apply(variables, x.at[:, 2].set(9.0), mask) == y).all())
      ((1, 8), True)

    Source: Lee et al. 2018, "Set transformer", https://arxiv.org/abs/1810.00825; Zhai et al. 2021,
      https://arxiv.org/abs/2106.04560.
    """

    num_heads: int
    feed_forward: nn.Module
    norm: nn.Module

    @nn.compact
    def __call__(self, states: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B D"]:
        D = states.shape[-1]
        probe = jnp.broadcast_to(self.param("probe", INIT, (1, D))[None], (len(states), 1, D))
        read = {"query": probe, "key": states, "value": states}
        heads = [
            split_heads(nn.Dense(D, kernel_init=INIT, name=name)(x), self.num_heads, 1)[0] for name, x in read.items()
        ]
        seen = attend(*heads, mask=None if mask is None else mask[:, None, None])
        y = nn.Dense(D, kernel_init=INIT, name="out")(join_heads(seen))
        return (y + self.feed_forward(self.norm(y)))[:, 0]
