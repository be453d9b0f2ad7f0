"""What corruptions are made of: filters along an axis as matrix products, motion, and fractal clouds.

Images are [H, W, C] floats in [0, 1]. A filter along an axis is a matrix [H, H], made once in NumPy, that holds the
rule for the border too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core.errors import UserError

Image = Float[Array, "H W C"]
Corruption = Callable[[jax.Array, Image], Image]
"""`(key, image) -> image`, pure: one example in [0, 1], as an augmentation of `deeplab.data.augment`."""

Border = Literal["edge", "reflect", "symmetric"]
"""Rule for pixels outside, by NumPy's names: the last pixel, a mirror in its center, and one at its outer side."""


def along(image: Image, rows: np.ndarray, columns: np.ndarray) -> Image:
    """Applies a matrix [P, H] to the rows and one [Q, W] to the columns, which gives [P, Q, C]."""
    left, right = rows.astype(np.float32), columns.astype(np.float32)
    return jnp.einsum("ph,hwc,qw->pqc", left, image, right, precision="highest")


def filtering(size: int, kernel: Sequence[float] | np.ndarray, border: Border) -> np.ndarray:
    """Matrix of a correlation with a kernel of an odd number of taps.

    Example:
      >>> filtering(3, [0.25, 0.5, 0.25], "edge").tolist()
      [[0.75, 0.25, 0.0], [0.25, 0.5, 0.25], [0.0, 0.25, 0.75]]
    """
    radius = len(kernel) // 2
    source = np.pad(np.arange(size), radius, mode=border)
    matrix = np.zeros((size, size))
    for tap, value in enumerate(kernel):
        np.add.at(matrix, (np.arange(size), source[tap : tap + size]), value)
    return matrix


def bell(sigma: float, radius: int) -> np.ndarray:
    """Gaussian kernel of 2 radius + 1 taps, of sum 1."""
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-(x**2) / (2 * sigma**2))
    return kernel / kernel.sum()


def smooth(image: Image, sigma: float | tuple[float, float], truncate: float = 4.0, border: Border = "edge") -> Image:
    """Gaussian filter, cut at `truncate` standard deviations, as scikit-image's `gaussian`.

    Args:
      image: Image.
      sigma: Standard deviation in pixels, or one each along rows and columns; nothing changes at 0.
      truncate: Length of the kernel's half, in standard deviations.
      border: Rule for pixels outside.
    """
    each = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    rows, columns = (
        filtering(size, bell(s, int(truncate * s + 0.5)), border) if s > 0 else np.eye(size)
        for size, s in zip(image.shape[:2], each, strict=True)
    )
    return along(image, rows, columns)


def correlate(image: Image, kernel: np.ndarray) -> Image:
    """Correlation of each channel with a kernel [P, Q] of odd sides; the border is reflected."""
    P, Q = kernel.shape
    # A mirror of a small image ends at its other side, and is reflected there again.
    padded = jnp.pad(image, ((P // 2, P // 2), (Q // 2, Q // 2), (0, 0)), mode="reflect")
    moved = jnp.moveaxis(padded, -1, 0)[:, None]  # [C, 1, H, W]
    out = jax.lax.conv(moved, jnp.asarray(kernel, image.dtype)[None, None], (1, 1), "VALID", precision="highest")
    return jnp.moveaxis(out[:, 0], 0, -1)


def zooming(size: int, factor: float) -> np.ndarray:
    """Matrix that enlarges the middle of an axis to its whole length, linearly, as SciPy's `zoom` does."""
    part = math.ceil(size / factor)
    top, made = (size - part) // 2, round(part * factor)
    trim = max(made - size, 0) // 2
    place = np.minimum((np.arange(size) + trim) * (part - 1) / max(made - 1, 1), part - 1)
    low = np.floor(place).astype(int)
    share, matrix = place - low, np.zeros((size, size))
    np.add.at(matrix, (np.arange(size), top + low), 1 - share)
    np.add.at(matrix, (np.arange(size), top + np.minimum(low + 1, part - 1)), share)
    return matrix


def motion(image: Image, angle: Any, radius: int, sigma: float) -> Image:
    """Blurs along a direction: the image and its shifts by 1, 2, ... pixels, weighted by half a bell.

    Args:
      image: Image.
      angle: Direction in degrees, from the columns to the rows; may be a tracer.
      radius: Half of the number of shifts.
      sigma: Standard deviation of the bell, in pixels.
    """
    kernel = bell(sigma, 2 * radius)[2 * radius :]
    kernel = jnp.asarray(kernel / kernel.sum(), image.dtype)
    turned = jnp.deg2rad(angle)
    rows, columns = jnp.arange(image.shape[0]), jnp.arange(image.shape[1])

    def add(tap: Any, total: jax.Array) -> jax.Array:
        down, right = (jnp.ceil(tap * f(turned) - 0.5).astype(jnp.int32) for f in (jnp.sin, jnp.cos))
        y, x = jnp.clip(rows + down, 0, len(rows) - 1), jnp.clip(columns + right, 0, len(columns) - 1)
        return total + kernel[tap] * image[y][:, x]

    return jax.lax.fori_loop(0, 2 * radius + 1, add, jnp.zeros_like(image))


def plasma(key: jax.Array, height: int, width: int, decay: float) -> Float[Array, "H W"]:
    """A cloud in [0, 1] by the diamond-square algorithm on a torus.

    Args:
      key: Key of the heights.
      height: Number of rows.
      width: Number of columns.
      decay: Divisor of the roughness from one scale to the next finer one; smooth if large.

    Source: Fournier et al. 1982, https://doi.org/10.1145/358523.358553.
    """
    size = 1 << (max(height, width) - 1).bit_length()
    cloud, step, rough = jnp.zeros((size, size)), size, 100.0
    while step >= 2:
        half, keys = step // 2, jax.random.split(jax.random.fold_in(key, step), 3)

        corner = cloud[::step, ::step]
        pairs = corner + jnp.roll(corner, -1, axis=0)
        center = _moved(keys[0], pairs + jnp.roll(pairs, -1, axis=1), rough)
        over, left = corner + jnp.roll(corner, -1, axis=1), corner + jnp.roll(corner, -1, axis=0)
        cloud = cloud.at[half::step, half::step].set(center)
        cloud = cloud.at[::step, half::step].set(_moved(keys[1], center + jnp.roll(center, 1, axis=0) + over, rough))
        cloud = cloud.at[half::step, ::step].set(_moved(keys[2], center + jnp.roll(center, 1, axis=1) + left, rough))
        step, rough = half, rough / decay
    cloud = cloud - jnp.min(cloud)
    return (cloud / jnp.max(cloud))[:height, :width]


def _moved(key: jax.Array, total: jax.Array, rough: float) -> jax.Array:
    """The mean of four heights, of which this is the sum, moved at random."""
    return total / 4 + rough**2 * jax.random.uniform(key, total.shape, minval=-1.0)


def gray(image: Image) -> Float[Array, "H W 1"]:
    """Luma of an image of three channels, and the mean of any others."""
    weights = jnp.array([0.299, 0.587, 0.114]) if image.shape[-1] == 3 else jnp.full(image.shape[-1], 1.0)
    return jnp.sum(image * (weights / jnp.sum(weights))[None, None], axis=-1, keepdims=True)


def refuse_integers(x: jax.Array, name: str) -> None:
    """Refuses what arithmetic would wrap or cut to whole numbers.

    Raises:
      UserError: the numbers are no floats.

    Example:
      >>> refuse_integers(jnp.zeros(3, jnp.int16), "waveform")
      Traceback (most recent call last):
      deeplab.core.errors.UserError: the waveform is int16[3], expected floats; give x.astype(np.float32)
    """
    if not jnp.issubdtype(kind := jnp.result_type(x), jnp.floating):
        raise UserError(f"the {name} is {kind}{list(np.shape(x))}, expected floats; give x.astype(np.float32)")


def clipped(image: Image) -> Image:
    """The image cut to [0, 1]."""
    return jnp.clip(image, 0.0, 1.0)
