"""Augmentations that move an image and the boxes in it alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.data.augment.base import Float
from deeplab.data.augment.geometry import grid, resample


@ranges.checked(
    zoom=ranges.NATURAL, shift=ranges.NATURAL, mirror=ranges.FRACTION, turn=ranges.FRACTION, visible=ranges.FRACTION
)
def move_boxes(
    zoom: Float = 0.0, shift: Float = 0.0, mirror: Float = 0.5, turn: Float = 0.0, visible: Float = 0.3
) -> Callable[[jax.Array, dict[str, Any]], dict[str, Any]]:
    """Scales, shifts and flips `image` [H, W, C] and `boxes` [M, 4]; sides stay parallel to the image's.

    Boxes are cut at the image's border. One of which too little is left becomes zeros, of class -1 in `classes` [M].

    Args:
      zoom: Largest logarithm of the scale, positive or negative.
      shift: Largest shift along each axis, as a share of the image's side.
      mirror: Probability of a horizontal flip.
      turn: Probability of a vertical flip.
      visible: Least share of a box's area that must be in the image.

    Returns:
      `(key, example) -> example`.

    Example:
      >>> boxes = jnp.array([[0.0, 0.0, 3.0, 2.0]])
      >>> example = {"image": jnp.zeros((4, 8, 1)), "boxes": boxes, "classes": jnp.array([1])}
      >>> move_boxes(mirror=1.0)(jax.random.key(0), example)["boxes"].tolist()
      [[5.0, 0.0, 8.0, 2.0]]
    """

    def move(key: jax.Array, example: dict[str, Any]) -> dict[str, Any]:
        image, boxes = example["image"], example["boxes"]
        size = jnp.array(image.shape[1::-1], jnp.float32)  # width and height
        drawn = jax.random.uniform(key, (5,), minval=-1.0)
        flipped = (drawn[3:] + 1) / 2 < jnp.stack([jnp.asarray(mirror), jnp.asarray(turn)])
        # A pixel at p of the result, from the center, comes from matrix p + offset.
        matrix = jnp.exp(-zoom * drawn[0]) * jnp.where(flipped, -1.0, 1.0)
        offset = shift * drawn[1:3] * size
        y, x = grid(*image.shape[:2])
        moved = resample(image, jnp.stack([matrix[1] * y + offset[1], matrix[0] * x + offset[0]]))
        corners = boxes.reshape(-1, 2) - (size / 2 + offset)[None]  # [2 M, 2]: x and y
        corners = (corners / matrix[None] + size[None] / 2).reshape(-1, 2, 2)
        corners = jnp.sort(corners, axis=1)
        cut = jnp.clip(corners, 0, size[None, None])
        whole, left = (jnp.prod(c[:, 1] - c[:, 0], axis=-1) for c in (corners, cut))
        there = (left > 0) & (left >= visible * whole)
        return example | {
            "image": moved,
            "boxes": jnp.where(there[:, None], cut.reshape(-1, 4), 0.0),
            "classes": jnp.where(there, example["classes"], -1),
        }

    return move
