"""Depthwise convolutions: XLA's on an accelerator, sums of shifted images on a CPU."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_MOST = 128
"""Largest number of entries of a kernel whose products are summed: each is an operation to compile."""


def depthwise(channels: int, side: int, *, kernel_init: nn.initializers.Initializer, name: str | None) -> nn.Conv:
    """A convolution of each channel by itself, of stride 1, padded so that the size stays.

    Args:
      channels: Number of channels.
      side: Height and width of the kernel, odd.
      kernel_init: Initializer of the kernel.
      name: Name of the layer.

    Example:
      >>> layer = depthwise(2, 7, kernel_init=nn.initializers.normal(0.02), name=None)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 2)))[0].shape
      (1, 4, 4, 2)
    """
    half = side // 2
    return nn.Conv(
        channels,
        (side, side),
        padding=((half, half), (half, half)),
        feature_group_count=channels,
        kernel_init=kernel_init,
        conv_general_dilated=conv_general_dilated,
        name=name,
    )


def conv_general_dilated(
    lhs: Float[Array, "B *N C"],
    rhs: Float[Array, "*n I D"],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    **options: Any,
) -> Float[Array, "B *M D"]:
    """`jax.lax.conv_general_dilated`, in a form that is fast on a CPU where each channel is by itself.

    There, y[b, i, c] = sum over u of x[b, i stride + u dilation, c] kernel[u, 0, c], of padded images, is computed as
    written; XLA's convolution of as many groups as channels takes one channel at a time. A step of EfficientNet-lite0
    with 8 images takes 1.4 s of CPU time instead of 7.1 at 224 x 224, and 0.11 instead of 0.98 at 64 x 64; it compiles
    in 14 s instead of 10. 16-bit numbers are summed in float32.

    It is an argument of `nn.Conv`.

    Args:
      lhs: Images, channels last.
      rhs: Kernel; its number of inputs I is 1 in a depthwise convolution.
      window_strides: Distances between two places where the kernel is applied.
      padding: "SAME", "VALID", or zeros before and after each axis of space.
      rhs_dilation: Distances between two entries of the kernel; 1 when None.
      feature_group_count: Number of groups of channels.
      **options: Other arguments of `jax.lax.conv_general_dilated`.

    Example:
      >>> layer = nn.Conv(2, (3, 3), 2, feature_group_count=2, conv_general_dilated=conv_general_dilated)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 2)))[0].shape
      (1, 2, 2, 2)
    """
    strides = tuple(window_strides)
    dilation = tuple(rhs_dilation or [1] * len(strides))
    depthwise = 1 < feature_group_count == lhs.shape[-1] == rhs.shape[-1] and math.prod(rhs.shape[:-2]) <= _MOST
    if jax.default_backend() != "cpu" or not depthwise or not _plain(lhs, rhs, **options):
        groups = {"feature_group_count": feature_group_count}
        return jax.lax.conv_general_dilated(lhs, rhs, strides, padding, rhs_dilation=dilation, **groups, **options)
    window = [(size - 1) * apart + 1 for size, apart in zip(rhs.shape[:-2], dilation, strict=True)]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(lhs.shape[1:-1], window, strides, padding)
    zeros = [(0, 0, 0), *((int(low), int(high), 0) for low, high in padding), (0, 0, 0)]
    kernel = jnp.expand_dims(rhs, range(-lhs.ndim, -2))  # one array of the rank of the images for each entry
    return _sums(strides, dilation, jax.lax.pad(lhs, jnp.zeros((), lhs.dtype), zeros), kernel)


def _plain(
    lhs: jax.Array,
    rhs: jax.Array,
    *,
    lhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
    **others: Any,
) -> bool:
    """Whether channels are last, and nothing else is asked for than a convolution, whose sums are always exact."""
    del precision
    found, last = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers), lhs.ndim - 1
    images, kernel = (0, last, *range(1, last)), (last, last - 1, *range(last - 1))
    return tuple(found) == (images, kernel, images) and set(lhs_dilation or [1]) == {1} and not others


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _sums(strides: tuple[int, ...], dilation: tuple[int, ...], x: jax.Array, kernel: jax.Array) -> jax.Array:
    """One fused loop of all products; so is its transpose with respect to x."""
    wide, lengths = _wide(x.dtype), _lengths(strides, dilation, x, kernel)
    total = jnp.zeros((), wide)
    for place, start in _places(dilation, kernel):
        limit = [low + length for low, length in zip(start, lengths, strict=True)]
        part = jax.lax.slice(x, (0, *start, 0), (x.shape[0], *limit, x.shape[-1]), (1, *strides, 1))
        total = total + part.astype(wide) * kernel[place].astype(wide)
    return total.astype(x.dtype)


@_sums.defjvp
def _sums_jvp(
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    primals: tuple[jax.Array, jax.Array],
    tangents: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """The tangent of the kernel is added entry by entry: its transpose, as many reductions, compiles as one."""
    (x, kernel), (dx, dkernel) = primals, tangents
    wide, lengths = _wide(x.dtype), _lengths(strides, dilation, x, kernel)
    steps = [slice(None), *(slice(None, None, stride) for stride in strides)]

    @functools.partial(jax.checkpoint, prevent_cse=False)  # else a part for each entry is kept
    def add(total: jax.Array, entry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        start, d = entry
        part = jax.lax.dynamic_slice(x, (0, *start, 0), (x.shape[0], *lengths, x.shape[-1]))
        return total + part[*steps].astype(wide) * d.astype(wide), None

    y = _sums(strides, dilation, x, kernel)
    starts = jnp.array([start for _, start in _places(dilation, kernel)])
    entries = dkernel.reshape(-1, *kernel.shape[len(strides) :])
    total, _ = jax.lax.scan(add, jnp.zeros(y.shape, wide), (starts, entries))
    return y, _sums(strides, dilation, dx, kernel) + total.astype(y.dtype)


def _places(dilation: tuple[int, ...], kernel: jax.Array) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each entry of the kernel, its indices and the place of its first product in padded images."""
    places = itertools.product(*map(range, kernel.shape[: len(dilation)]))
    return [(place, tuple(map(operator.mul, place, dilation))) for place in places]


def _lengths(strides: tuple[int, ...], dilation: tuple[int, ...], x: jax.Array, kernel: jax.Array) -> list[int]:
    """For each axis of space, the number of places from the first product of an entry to its last."""
    sizes = zip(x.shape[1:-1], kernel.shape[: len(strides)], strides, dilation, strict=True)
    return [(size - 1 - (side - 1) * apart) // stride * stride + 1 for size, side, stride, apart in sizes]


def _wide(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.promote_types(dtype, jnp.float32)
