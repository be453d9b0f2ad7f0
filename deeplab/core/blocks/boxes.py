"""Cards of images with a box around each object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core.blocks.base import Card, card, picture

Color = tuple[int, int, int]

# Okabe and Ito 2008, "Color universal design": told apart by color-blind readers, too.
COLORS: tuple[Color, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip


def box_cards(
    class_names: Sequence[str], least: float = 0.4, colors: Sequence[Color] = COLORS
) -> Callable[[Mapping[str, Any], Mapping[str, Any]], list[Card]]:
    """A `show` for an experiment with a `Detection`: the image with the boxes of its objects, and with those found.

    Args:
      class_names: Names of the classes.
      least: Least score of a box that is drawn.
      colors: Color of each class; they are used again where there are more classes.

    Returns:
      `(batch, predictions) -> cards` for a batch with `image` (uint8, or floats in [0, 1]), `boxes`, `classes` and
      `id`, and predictions with `boxes`, `scores` and `classes`.

    Example:
      >>> box, one = np.array([[[1, 1, 6, 6]]]), np.array([[0]])
      >>> batch = {"image": np.zeros((1, 8, 8, 3), np.uint8), "boxes": box, "classes": one, "id": np.array([7])}
      >>> made = box_cards(("cell",))(batch, {"boxes": box, "scores": np.array([[0.9]]), "classes": one})
      >>> made[0]["caption"]
      'cell: 1 found, 1 labeled'
    """

    def show(batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
        made = []
        for i, image in enumerate(batch["image"]):
            sure = predictions["scores"][i] >= least
            boxes, found, there = predictions["boxes"][i][sure], predictions["classes"][i][sure], batch["classes"][i]
            labeled = picture(drawn(image, batch["boxes"][i], there, colors), "labeled")
            counts = [(name, int((found == k).sum()), int((there == k).sum())) for k, name in enumerate(class_names)]
            told = [f"{name}: {a:,} found, {b:,} labeled" for name, a, b in counts if a or b]
            parts = [labeled, picture(drawn(image, boxes, found, colors), "found")]
            made.append(card(f"example {int(batch['id'][i])}", *parts, caption="; ".join(told) or "no object"))
        return made

    return show


def drawn(image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, colors: Sequence[Color] = COLORS) -> np.ndarray:
    """An image with boxes drawn into it, [H, W, 3] uint8.

    Args:
      image: Pixels, [H, W, 1] or [H, W, 3], uint8 or floats in [0, 1].
      boxes: x_min, y_min, x_max and y_max of each box, [M, 4]; those partly outside are cut.
      classes: Class of each box, [M]; one of -1 is not drawn.
      colors: Color of each class.

    Example:
      >>> drawn(np.zeros((3, 3, 1)), np.array([[0, 0, 3, 3]]), np.array([0]), [(9, 0, 0)])[..., 0].tolist()
      [[9, 9, 9], [9, 0, 9], [9, 9, 9]]
    """
    pixels = image if image.dtype == np.uint8 else np.clip(np.asarray(image) * 255, 0, 255).astype(np.uint8)
    made = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()
    last = np.array(made.shape[1::-1]) - 1
    for box, k in zip(boxes, classes, strict=True):
        if k < 0 or not np.isfinite(box).all():
            continue
        low = np.clip(np.floor(box[:2]), 0, last).astype(int)
        high = np.clip(np.ceil(box[2:]) - 1, low, last).astype(int)
        color = colors[int(k) % len(colors)]
        made[[low[1], high[1]], low[0] : high[0] + 1] = color
        made[low[1] : high[1] + 1, [low[0], high[0]]] = color
    return made
