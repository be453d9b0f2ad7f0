"""Images with a class for each pixel, as cards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.report.cards import Card, card, picture

Colour = tuple[int, int, int]


def mask_cards(
    palette: Sequence[Colour], void: int | None = None
) -> Callable[[Mapping[str, Any], Mapping[str, Any]], list[Card]]:
    """An experiment's `show` for a `Segmentation`: the image, its label, and what was predicted.

    Args:
      palette: the colour of each class.
      void: the class of a label that does not count: black, and so is the prediction there, as no one looks at it.

    Returns:
      `(batch, predictions) -> cards` of a batch with `image`, `mask` and `id`, and predictions with `prediction` and
      `confusion` [N, K, K].

    Example:
      >>> show = mask_cards([(255, 255, 255), (0, 0, 0)])
      >>> image, mask = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8)
      >>> predictions = {"prediction": mask, "confusion": np.array([[[60, 4], [0, 0]]])}
      >>> show({"image": image, "mask": mask, "id": np.array([7])}, predictions)[0]["caption"]
      '6.2 % of its pixels are wrong'
    """
    colours = np.asarray(palette, np.uint8)

    def show(batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
        made = []
        for i, (image, mask) in enumerate(zip(batch["image"], batch["mask"], strict=True)):
            counted = np.ones(mask.shape, bool) if void is None else mask != void
            label, prediction = (colours[np.where(counted, m, 0)] for m in (mask, predictions["prediction"][i]))
            for drawn in (label, prediction):
                drawn[~counted] = 0
            confusion = predictions["confusion"][i]
            wrong = 1 - np.trace(confusion) / max(confusion.sum(), 1)
            parts = [picture(image, "image"), picture(label, "label"), picture(prediction, "prediction")]
            made.append(card(f"example {int(batch['id'][i])}", *parts, caption=f"{wrong:.1%} of its pixels are wrong"))
            made[-1]["caption"] = made[-1]["caption"].replace("%", " %", 1)
        return made

    return show
