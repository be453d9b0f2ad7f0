"""Fields: where each pixel comes from, so that an image and its mask are moved alike, and resampled once.

A field is a pure function `(key, places) -> places` of rows and columns [2, h, w], in pixels from the image's centre.
`chain` joins several: what comes first is nearest to the result.

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

from deeplab.data.augment.base import Float
from deeplab.data.augment.geometry import grid, resample

Field = Callable[[jax.Array, jax.Array], jax.Array]


def elastic(pixels: Float, smoothness: Float) -> Field:
    """Moves each place by smooth noise (Simard et al. 2003, https://doi.org/10.1109/ICDAR.2003.1227801).

    White noise is smoothed by a Gaussian of s.d. `smoothness`, in pixels, and scaled so that each displacement has a
    s.d. of `pixels` along each axis, at the borders too.
    """

    def field(key: jax.Array, places: jax.Array) -> jax.Array:
        _, height, width = places.shape
        noise = jax.random.normal(key, places.shape)
        down, right = _smoother(height, smoothness), _smoother(width, smoothness)
        return places + pixels * jnp.einsum("ih,chw,jw->cij", down, noise, right)

    return field


def _smoother(size: int, smoothness: Float) -> jax.Array:
    """A Gaussian filter as a matrix whose rows have the norm 1: white noise keeps its variance."""
    distance = (jnp.arange(size)[:, None] - jnp.arange(size)[None, :]) / jnp.maximum(smoothness, 0.1)
    rows = jnp.exp(-(distance**2) / 2)
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def quarter_turns() -> Field:
    """One of the eight turns and mirror images of a square, each as likely."""

    def field(key: jax.Array, places: jax.Array) -> jax.Array:
        turn, *mirror = jax.random.bernoulli(key, shape=(3,))
        sign = jnp.where(jnp.stack(mirror), -1.0, 1.0)[:, None, None]
        return sign * jnp.where(turn, places[::-1], places)

    return field


def pose(degrees: Float = 0.0, zoom: Float = 0.0, mirror: Float = 0.0) -> Field:
    """Turns by up to `degrees`, scales by exp(u), |u| up to `zoom`, and mirrors left and right with a probability."""

    def field(key: jax.Array, places: jax.Array) -> jax.Array:
        turn, size, side = jax.random.uniform(key, (3,), minval=-1.0)
        angle, factor = jnp.deg2rad(degrees) * turn, jnp.exp(-zoom * size)
        cos, sin = factor * jnp.cos(angle), factor * jnp.sin(angle)
        y, x = places
        x = jnp.where((side + 1) / 2 < mirror, -x, x)
        return jnp.stack([cos * y - sin * x, sin * y + cos * x])

    return field


def anywhere(rows: int, columns: int) -> Field:
    """Moves the window to any place: by whole pixels, over as many rows and columns as the image exceeds it."""

    def field(key: jax.Array, places: jax.Array) -> jax.Array:
        room = jnp.array([rows, columns])
        offset = jax.random.randint(key, (2,), 0, room + 1) - room / 2
        return places + offset[:, None, None]

    return field


def together(
    field: Field, height: int, width: int, *, outside: Literal["fill", "mirror"] = "fill", void: int = 0
) -> Callable[[jax.Array, dict[str, Any]], dict[str, Any]]:
    """Moves `image` [H, W, C] bilinearly and `mask` [H', W'] by the nearest pixel, to [height, width] each.

    The mask may be of another size, over the same scene: places are scaled.

    Args:
      field: from places of the result to places of the image.
      height: of the result.
      width: likewise.
      outside: the mirror image, or black with the class `void`.
      void: that class.

    Returns:
      `(key, example) -> example`.
    """

    def move(key: jax.Array, example: dict[str, Any]) -> dict[str, Any]:
        image, mask = example["image"], example["mask"]
        places = field(key, grid(height, width))
        scale = jnp.array([mask.shape[0] / image.shape[0], mask.shape[1] / image.shape[1]])[:, None, None]
        moved = resample(mask[..., None], scale * places, nearest=True, outside=outside, fill=void)[..., 0]
        return example | {"image": resample(image, places, outside=outside), "mask": moved}

    return move
