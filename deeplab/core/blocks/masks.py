"""Cards of images with a class for each pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from deeplab.core.blocks.base import Card, card, picture

Color = tuple[int, int, int]


def mask_cards(
    palette: Sequence[Color], void: int | None = None
) -> Callable[[Mapping[str, Any], Mapping[str, Any]], list[Card]]:
    """A `show` for an experiment with a `Segmentation`: the image, its label and its prediction.

    Args:
      palette: Color of each class.
      void: Class of unlabeled pixels, if any. They are black in the label and in the prediction.

    Returns:
      `(batch, predictions) -> cards` for a batch with `image`, `mask` and `id`, and predictions with `prediction` and
      `confusion`, [N, K, K].

    Example:
      >>> show = mask_cards([(255, 255, 255), (0, 0, 0)])
      >>> image, mask = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8)
      >>> predictions = {"prediction": mask, "confusion": np.array([[[60, 4], [0, 0]]])}
      >>> show({"image": image, "mask": mask, "id": np.array([7])}, predictions)[0]["caption"]
      '6.2 % of the pixels are wrong'
    """
    colors = np.asarray(palette, np.uint8)

    def show(batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
        made = []
        for i, (image, mask) in enumerate(zip(batch["image"], batch["mask"], strict=True)):
            counted = np.ones(mask.shape, bool) if void is None else mask != void
            label, prediction = (colors[np.where(counted, m, 0)] for m in (mask, predictions["prediction"][i]))
            for drawn in (label, prediction):
                drawn[~counted] = 0
            parts = [picture(image, "image"), picture(label, "label"), picture(prediction, "prediction")]
            made.append(card(f"example {int(batch['id'][i])}", *parts, caption=_mistakes(predictions["confusion"][i])))
        return made

    return show


def _mistakes(confusion: Float[np.ndarray, "K K"]) -> str:
    total = confusion.sum()
    if total == 0:
        return "no pixel has a label"
    wrong = 100 * (1 - np.trace(confusion) / total)
    return f"{wrong:.1f} % of the pixels are wrong" if np.isfinite(wrong) else "the prediction is not finite"
