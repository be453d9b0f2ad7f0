"""Blur: Gaussian, out of focus, through frosted glass, of motion and of zoom."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.robust.corruptions.filters import (
    Corruption,
    Image,
    along,
    bell,
    clipped,
    correlate,
    filtering,
    motion,
    smooth,
    zooming,
)

_CHAIN = 6  # doublings of the chain of copies: after them 2^-64 of the pixels are not at its end


@ranges.checked(sigma=ranges.NATURAL)
def gaussian_blur(sigma: float) -> Corruption:
    """A Gaussian filter of the standard deviation `sigma`, in pixels.

    Example:
      >>> blurred = gaussian_blur(1.0)(jax.random.key(0), jnp.full((8, 8, 1), 0.5))
      >>> blurred[4, 4].round(4).tolist()  # what is uniform stays
      [0.5]
    """
    return lambda key, image: clipped(smooth(image, sigma))


@ranges.checked(radius=ranges.NATURAL, alias=ranges.POSITIVE)
def defocus_blur(radius: float, alias: float) -> Corruption:
    """The mean over a disk.

    Args:
      radius: Radius of the disk, in pixels.
      alias: Standard deviation of the filter that smooths the disk's border, in pixels.

    Example:
      >>> defocus_blur(radius=2.0, alias=0.5)(jax.random.key(0), jnp.ones((16, 16, 3))).shape
      (16, 16, 3)
    """
    reach, border = (8, 1) if radius <= 8 else (int(radius), 2)
    x = np.arange(-reach, reach + 1)
    disk = (x[None] ** 2 + x[:, None] ** 2 <= radius**2).astype(np.float64)
    edge = filtering(len(x), bell(alias, border), "reflect")
    kernel = edge @ (disk / disk.sum()) @ edge.T
    return lambda key, image: clipped(correlate(image, kernel))


@ranges.checked(sigma=ranges.NATURAL, reach=ranges.COUNT, times=ranges.COUNT)
def glass_blur(sigma: float, reach: int, times: int) -> Corruption:
    """A Gaussian filter, pixels that are copied from a random neighbor, and the filter again.

    Pixels are visited from the lower right to the upper left, and a copy may be copied in its turn.

    Args:
      sigma: Standard deviation of the filters, in pixels.
      reach: Neighbors are `reach` pixels before to `reach` - 1 behind, along each axis.
      times: Number of visits of each pixel.

    Example:
      >>> glass_blur(sigma=0.5, reach=1, times=1)(jax.random.key(0), jnp.full((8, 8, 1), 0.5)).shape
      (8, 8, 1)
    """

    def copied(key: jax.Array, image: Image) -> Image:
        H, W, _ = image.shape
        moved = jax.random.randint(key, (2, H, W), -reach, reach)
        y, x = jnp.arange(H)[:, None], jnp.arange(W)[None]
        inner = (y > reach) & (y <= H - reach) & (x > reach) & (x <= W - reach)
        place = y * W + x
        source = jnp.where(inner, place + moved[0] * W + moved[1], place).reshape(-1)
        # A neighbor before the pixel in its row, or in a row above, is visited later: it is what it was.
        final = (source <= place.reshape(-1)) | ~inner.reshape(-1)[source]
        for _ in range(_CHAIN):
            source, final = jnp.where(final, source, source[source]), final | final[source]
        return image.reshape(H * W, -1)[source].reshape(image.shape)

    def corrupt(key: jax.Array, image: Image) -> Image:
        image = smooth(image, sigma)
        for number in range(times):
            image = copied(jax.random.fold_in(key, number), image)
        return clipped(smooth(image, sigma))

    return corrupt


@ranges.checked(radius=ranges.COUNT, sigma=ranges.POSITIVE)
def motion_blur(radius: int, sigma: float) -> Corruption:
    """Motion in a random direction within 45 degrees of the horizontal; see `filters.motion`.

    Args:
      radius: Half of the number of shifts.
      sigma: Standard deviation of the weights of the shifts, in pixels.

    Example:
      >>> motion_blur(radius=3, sigma=2.0)(jax.random.key(0), jnp.full((16, 16, 1), 0.5)).shape
      (16, 16, 1)
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        return clipped(motion(image, jax.random.uniform(key, minval=-45.0, maxval=45.0), radius, sigma))

    return corrupt


@ranges.checked(below=ranges.Range(above=1), step=ranges.POSITIVE)
def zoom_blur(below: float, step: float = 0.01) -> Corruption:
    """The mean of the image and of its middle, enlarged by the factors 1, 1 + step, ... below `below`.

    Example:
      >>> zoom_blur(below=1.1)(jax.random.key(0), jnp.ones((16, 16, 1))).shape
      (16, 16, 1)
    """
    factors = np.arange(1, below, step)

    def corrupt(key: jax.Array, image: Image) -> Image:
        rows, columns = (np.stack([zooming(size, f) for f in factors]) for size in image.shape[:2])
        each = [along(image, row, column) for row, column in zip(rows, columns, strict=True)]
        return clipped((image + sum(each)) / (len(factors) + 1))

    return corrupt
