"""Coordinate fields: they move an image and its mask alike, and resample each once.

A field is a pure function `(key, coordinates) -> coordinates`: for each pixel of the result, the row and column that it
comes from, [2, h, w], in pixels from the image's center. `chain` composes several; the first one acts on the result's
own coordinates.

Example:
  >>> from deeplab.data.augment import chain
  >>> move = together(chain(elastic(2.0, 4.0), quarter_turns(), anywhere(16, 16)), height=16, width=16)
  >>> example = {"image": jnp.ones((32, 32, 1)), "mask": jnp.ones((32, 32), jnp.uint8)}
  >>> jax.jit(move)(jax.random.key(0), example)["mask"].shape
  (16, 16)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.data.augment.base import Float
from deeplab.data.augment.geometry import grid, resample

Field = Callable[[jax.Array, jax.Array], jax.Array]
"""`(key, coordinates) -> coordinates`, [2, h, w] each."""


@ranges.checked(pixels=ranges.NATURAL, smoothness=ranges.NATURAL)
def elastic(pixels: Float, smoothness: Float) -> Field:
    """Displaces each pixel by smooth noise (Simard et al. 2003, https://doi.org/10.1109/ICDAR.2003.1227801).

    White noise is smoothed by a Gaussian and scaled, so that displacements have the same spread at the borders.

    Args:
      pixels: Standard deviation of a displacement along each axis, in pixels.
      smoothness: Standard deviation of the Gaussian, in pixels.

    Example:
      >>> field = elastic(pixels=2.0, smoothness=4.0)  # for `together`
    """

    def field(key: jax.Array, coordinates: jax.Array) -> jax.Array:
        _, height, width = coordinates.shape
        noise = jax.random.normal(key, coordinates.shape)
        down, right = _smoother(height, smoothness), _smoother(width, smoothness)
        return coordinates + pixels * jnp.einsum("ih,chw,jw->cij", down, noise, right)

    return field


def _smoother(size: int, smoothness: Float) -> jax.Array:
    """A Gaussian filter as a matrix whose rows have norm 1, so that white noise keeps its variance."""
    distance = (jnp.arange(size)[:, None] - jnp.arange(size)[None, :]) / jnp.maximum(smoothness, 0.1)
    rows = jnp.exp(-(distance**2) / 2)
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def quarter_turns() -> Field:
    """One of the eight rotations and reflections of a square, with equal probability.

    Example:
      >>> field = quarter_turns()  # for `together`: tissue has no upper side
    """

    def field(key: jax.Array, coordinates: jax.Array) -> jax.Array:
        turn, *mirror = jax.random.bernoulli(key, shape=(3,))
        sign = jnp.where(jnp.stack(mirror), -1.0, 1.0)[:, None, None]
        return sign * jnp.where(turn, coordinates[::-1], coordinates)

    return field


@ranges.checked(degrees=ranges.NATURAL, zoom=ranges.NATURAL, mirror=ranges.FRACTION)
def pose(degrees: Float = 0.0, zoom: Float = 0.0, mirror: Float = 0.0) -> Field:
    """Rotates, scales and flips.

    Args:
      degrees: Largest angle.
      zoom: Largest logarithm of the scale, positive or negative.
      mirror: Probability of a horizontal flip.

    Example:
      >>> field = pose(degrees=10.0, zoom=0.1, mirror=0.5)  # for `together`
    """

    def field(key: jax.Array, coordinates: jax.Array) -> jax.Array:
        turn, size, side = jax.random.uniform(key, (3,), minval=-1.0)
        angle, factor = jnp.deg2rad(degrees) * turn, jnp.exp(-zoom * size)
        cos, sin = factor * jnp.cos(angle), factor * jnp.sin(angle)
        y, x = coordinates
        x = jnp.where((side + 1) / 2 < mirror, -x, x)
        return jnp.stack([cos * y - sin * x, sin * y + cos * x])

    return field


@ranges.checked(rows=ranges.NATURAL, columns=ranges.NATURAL)
def anywhere(rows: int, columns: int) -> Field:
    """Moves a window by whole pixels to any position; the image exceeds it by so many rows and columns.

    Example:
      >>> window = anywhere(4, 4)  # for `together`: 4 rows and columns of the image are left out
    """

    def field(key: jax.Array, coordinates: jax.Array) -> jax.Array:
        room = jnp.array([rows, columns])
        offset = jax.random.randint(key, (2,), 0, room + 1) - room / 2
        return coordinates + offset[:, None, None]

    return field


def together(
    field: Field, height: int, width: int, *, outside: Literal["fill", "mirror"] = "fill", void: int = 0
) -> Callable[[jax.Array, dict[str, Any]], dict[str, Any]]:
    """Resamples `image` [H, W, C] bilinearly and `mask` [H', W'] by nearest neighbor, to [height, width] each.

    The mask may have another size over the same scene; its coordinates are scaled.

    Args:
      field: Map from coordinates of the result to coordinates of the image.
      height: Height of the result, in pixels.
      width: Width of the result, in pixels.
      outside: "mirror" for the mirror image, or "fill" for black with the class `void`.
      void: Class of the mask's pixels outside the image.

    Returns:
      `(key, example) -> example`.

    Example:
      >>> from deeplab.data.augment import pose
      >>> example = {"image": jnp.ones((8, 8, 3)), "mask": jnp.zeros((8, 8), int)}
      >>> both = together(pose(degrees=10.0), 4, 4)(jax.random.key(0), example)
      >>> both["image"].shape, both["mask"].shape
      ((4, 4, 3), (4, 4))
    """

    def move(key: jax.Array, example: dict[str, Any]) -> dict[str, Any]:
        image, mask = example["image"], example["mask"]
        coordinates = field(key, grid(height, width))
        scale = jnp.array([mask.shape[0] / image.shape[0], mask.shape[1] / image.shape[1]])[:, None, None]
        moved = resample(mask[..., None], scale * coordinates, nearest=True, outside=outside, fill=void)[..., 0]
        return example | {"image": resample(image, coordinates, outside=outside), "mask": moved}

    return move
