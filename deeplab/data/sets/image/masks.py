"""Masks with a class for each pixel: decoding and display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import images


def decode_mask(content: bytes, classes: Mapping[int, int], where: str) -> np.ndarray:
    """A mask of classes from the bytes of an image file, [H, W] uint8.

    Args:
      content: Bytes of the file: an image of one channel, or with a palette, whose indices are the values. It is
        turned as its EXIF orientation says, as the image is that it belongs to.
      classes: Map from pixel values to classes.
      where: Name of the file, for messages.

    Raises:
      UserError: the file cannot be read, has several channels, or holds a value that is no class.
    """
    values = images.stored(content, where)
    if values.ndim != 2 or values.dtype.kind == "f":
        given = f"{values.dtype}{list(values.shape)}"
        raise UserError(f"{where} is a mask of {given}, expected one integer per pixel, [H, W]")
    table = np.full(256, 255, np.uint8)
    table[list(classes)] = list(classes.values())
    found, counts = np.unique(values, return_counts=True)
    unknown = [(int(v), int(n)) for v, n in zip(found, counts, strict=True) if int(v) not in classes]
    if unknown:
        value, count = unknown[0]
        known = ", ".join(map(str, sorted(classes)))
        raise UserError(f"{where} holds the unknown class {value} in {count:,} pixels; known are {known}")
    return table[values]


def colored(mask: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """A mask as a picture, [H, W] -> [H, W, 3] uint8.

    Example:
      >>> colored(np.array([[0, 1]]), [(0, 0, 0), (255, 0, 0)]).tolist()
      [[[0, 0, 0], [255, 0, 0]]]
    """
    return np.asarray(palette, np.uint8)[mask]


def described(
    mask: np.ndarray, class_names: Sequence[str], palette: Sequence[tuple[int, int, int]]
) -> dict[str, float | np.ndarray]:
    """A mask as a picture, and the shares of the classes that occur in it.

    Example:
      >>> told = described(np.array([[0, 1]]), ("sky", "road"), [(0, 0, 0), (255, 0, 0)])
      >>> told["road"], told["mask"].shape
      (0.5, (1, 2, 3))
    """
    shares = np.bincount(mask.reshape(-1), minlength=len(class_names)) / mask.size
    seen = {name: float(x) for name, x in zip(class_names, shares, strict=True) if x > 0}
    return {**seen, "mask": colored(mask, palette)}
