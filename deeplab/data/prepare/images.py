"""Image files: decoded, scaled to fit and cropped, or refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeplab.core.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
"""Suffixes of the files that `load` reads."""


def load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """One image file as [H, W, C] uint8, scaled and cropped by `fit`.

    Raises:
      UserError: the file is not an image that Pillow can decode.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return fit(image, shape)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not an image that can be read ({error}); repair or remove it") from error


def fit(image: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    """An image as [H, W, C] uint8: its shorter side is scaled to fit, and the center is cropped."""
    from PIL import Image, ImageOps

    height, width, channels = shape
    image = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(shape)


def fit_array(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array [h, w, C] uint8 as [H, W, C] by `fit`; returned as it is where the shape is right already."""
    if image.shape == tuple(shape):
        return image
    from PIL import Image

    return fit(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image), shape)


def png(image: np.ndarray) -> bytes:
    """An array [H, W, C] uint8 encoded as PNG, without loss."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "png")
    return buffer.getvalue()
