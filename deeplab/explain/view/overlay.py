"""Maps as pictures, in colors that are symmetric around 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

_UP, _DOWN = np.array([208, 86, 27]), np.array([23, 103, 179])  # orange raises the score, blue lowers it
_PERCENTILE = 99.0  # one bright pixel leaves the others visible


def overlay(
    values: Any, image: Any = None, *, percentile: float = _PERCENTILE, strength: float = 0.9
) -> UInt8[np.ndarray, "H W 3"]:
    """A map as a picture: orange where it is positive, blue where it is negative, clear where it is 0.

    Args:
      values: Map, [H, W] or [H, W, C], whose channels are summed.
      image: Image below it, [H, W], [H, W, 1] or [H, W, 3], drawn in pale grey by its own range; white when None.
      percentile: Percentile of the sizes that is shown in full color, the same for both signs.
      strength: Opacity of full color.

    Example:
      >>> overlay(np.array([[1.0, 0.0, -1.0]]))[0].tolist()
      [[213, 103, 50], [255, 255, 255], [46, 118, 187]]
    """
    flat = _summed(values)
    largest = np.percentile(np.abs(flat), percentile) or np.abs(flat).max() or 1.0
    share = np.clip(flat / largest, -1, 1)[..., None]
    below = 255.0 if image is None else 150 + 105 * shaded(image)[..., None] / 255.0
    color = np.where(share > 0, _UP, _DOWN)
    opacity = strength * np.abs(share)
    return np.round((1 - opacity) * below + opacity * color).astype(np.uint8)


def shaded(image: Any) -> Float[np.ndarray, "H W"]:
    """An image in grey, from 0 for its least to 255 for its largest value."""
    grey = np.asarray(image, np.float64)
    grey = grey.mean(axis=-1) if grey.ndim == 3 else grey
    low, high = grey.min(), grey.max()
    return 255 * (grey - low) / ((high - low) or 1.0)


def spectrogram(values: Float[np.ndarray, "T F"]) -> Float[np.ndarray, "F T"]:
    """A spectrogram as it is read: time to the right, low frequencies below."""
    return np.asarray(values, np.float64).T[::-1]


def _summed(values: Any) -> np.ndarray:
    flat = np.asarray(values, np.float64)
    return flat.sum(axis=-1) if flat.ndim == 3 else flat
