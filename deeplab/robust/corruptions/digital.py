"""Digital processing: contrast, elastic deformation, pixels, saturation; JPEG has a file of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from deeplab.core import ranges
from deeplab.robust.corruptions.filters import Corruption, Image, along, clipped, smooth


@ranges.checked(kept=ranges.NATURAL)
def contrast(kept: float) -> Corruption:
    """Scales the distance from the mean of each channel.

    Example:
      >>> [round(float(x), 2) for x in contrast(0.5)(jax.random.key(0), jnp.array([[[0.2]], [[0.6]]])).ravel()]
      [0.3, 0.5]
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        mean = jnp.mean(image, axis=(0, 1), keepdims=True)
        return clipped(mean + kept * (image - mean))

    return corrupt


@ranges.checked(factor=ranges.NATURAL)
def saturate(factor: float, more: float) -> Corruption:
    """s -> factor s + more, for the saturation s of each pixel's hue, saturation and value.

    A gray pixel of an image of three channels has the hue red; an image of one channel stays.

    Example:
      >>> red = jnp.array([[[0.8, 0.2, 0.2]]])
      >>> [round(float(v), 2) for v in saturate(0.0, 0.0)(jax.random.key(0), red).ravel()]  # no color is left
      [0.8, 0.8, 0.8]
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        if image.shape[-1] != 3:
            return image
        value, low = jnp.max(image, axis=-1, keepdims=True), jnp.min(image, axis=-1, keepdims=True)
        colored = value > low
        saturation = jnp.where(colored, (value - low) / jnp.where(colored, value, 1), 0)
        new = clipped(saturation * factor + more)
        away = jnp.where(colored, (value - image) / jnp.where(colored, value - low, 1), jnp.array([[[0.0, 1.0, 1.0]]]))
        return clipped(value * (1 - new * away))

    return corrupt


@ranges.checked(factor=ranges.Range(above=0, at_most=1))
def pixelate(factor: float) -> Corruption:
    """Shrinks the image to `factor` of its sides, by means over boxes, and enlarges it again by its nearest pixels.

    Example:
      >>> pixelate(0.5)(jax.random.key(0), jnp.array([[[0.0]], [[1.0]]]).repeat(2, axis=1)).round(4).ravel().tolist()
      [0.5, 0.5, 0.5, 0.5]
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        return clipped(along(image, *(_pixels(size, max(1, int(size * factor))) for size in image.shape[:2])))

    return corrupt


def _pixels(size: int, few: int) -> np.ndarray:
    """Matrix of the means over boxes, with the row of the nearest box for each pixel."""
    ratio = size / few
    center = (np.arange(few) + 0.5) * ratio
    within = (np.arange(size)[None] + 0.5 - center[:, None]) / ratio
    boxes = ((within > -0.5) & (within <= 0.5)).astype(np.float64)
    boxes /= boxes.sum(axis=1, keepdims=True)
    return boxes[((np.arange(size) + 0.5) / ratio).astype(int)]


@ranges.checked(by=ranges.NATURAL, sigma=ranges.NATURAL, affine=ranges.NATURAL)
def elastic(by: float, sigma: float, affine: float) -> Corruption:
    """A random affine map, and shifts of each pixel by smoothed noise; all lengths are shares of the image's height.

    Args:
      by: Factor of the smoothed noise, which is uniform in [-1, 1] before.
      sigma: Standard deviation of its filter.
      affine: Largest shift of three points, along each axis, that tell the affine map.

    Example:
      >>> elastic(by=0.1, sigma=0.5, affine=0.05)(jax.random.key(0), jnp.ones((16, 16, 3))).shape
      (16, 16, 3)
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        H, W, _ = image.shape
        points_key, field_key = jax.random.split(key)
        center, third = np.array([H // 2, W // 2]), min(H, W) // 3
        points = center[None] + third * np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
        moved = points + affine * H * jax.random.uniform(points_key, points.shape, minval=-1.0)
        grid = jnp.stack(jnp.meshgrid(jnp.arange(H), jnp.arange(W), indexing="ij")).astype(jnp.float32)
        if affine > 0:  # a pixel comes from where the map, turned around, leads
            ends = jnp.concatenate([moved, jnp.ones((3, 1))], axis=1)
            matrix = jnp.linalg.solve(ends, jnp.asarray(points, jnp.float32))  # [3, 2]
            known = jnp.concatenate([grid, jnp.ones((1, H, W))])
            back = jnp.einsum("khw,kd->dhw", known, matrix, precision="highest")
            image = _sampled(image, back, "mirror")
        if by > 0:
            noise = jax.random.uniform(field_key, (H, W, 2), minval=-1.0)
            field = by * H * smooth(noise, (sigma * H, sigma * W), 3.0, "symmetric")
            image = _sampled(image, grid + jnp.moveaxis(field, -1, 0), "reflect")
        return clipped(image)

    return corrupt


def _sampled(image: Image, place: jax.Array, border: str) -> Image:
    """The image at fractional places [2, H, W], linearly."""
    return jax.vmap(lambda channel: map_coordinates(channel, [*place], 1, border), -1, -1)(image)
