"""Values of a user's masks: gray values, indices of a palette, or colors, each as one number."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from deeplab.core.errors import UserError
from deeplab.data.prepare import images

Value = int | tuple[int, int, int]
"""A gray value or index, or an (R, G, B). A gray color is its gray value: (255, 255, 255) is 255."""

_COLOR = 1 << 24  # above all gray values, and so added to colors
_MOST = 200  # values of a set; more are of images, or of masks that were smoothed
LOSSY = frozenset({".jpg", ".jpeg"})
"""Suffixes of files whose pixels are not what was saved."""


def code(value: Value) -> int:
    """A value as one number.

    Example:
      >>> code(7), code((9, 9, 9)), value(code((1, 2, 3)))
      (7, 9, (1, 2, 3))
    """
    if isinstance(value, int | np.integer):
        return int(value)
    red, green, blue = map(int, value)
    return red if red == green == blue else _COLOR + (red << 16) + (green << 8) + blue


def value(code: int) -> Value:
    """The value of a number; see `code`."""
    return code if code < _COLOR else ((code >> 16) & 255, (code >> 8) & 255, code & 255)


def name(code: int) -> str:
    """The name of a class that has none: its value, or its color in hexadecimal digits.

    Example:
      >>> name(7), name(code((255, 0, 16)))
      ('7', '#ff0010')
    """
    told = value(code)
    return str(told) if isinstance(told, int) else "#{:02x}{:02x}{:02x}".format(*told)


def read(path: Path, values: Sequence[int] = ()) -> Int[np.ndarray, "H W"]:
    """The codes of a mask's pixels, int32.

    Args:
      path: Image file of one channel, with a palette, or of colors; an opaque alpha channel is left out.
      values: Codes that a file saved with loss may hold; each of its pixels gets the nearest.

    Raises:
      UserError: the file cannot be decoded, is of floats, has transparent pixels, or was saved with loss and no values
        are given.
    """
    pixels = images.stored(images.read_bytes(path), str(path))
    if pixels.dtype.kind == "f":
        raise UserError(f"{path} is a mask of {pixels.dtype}, expected integers or colors")
    if pixels.ndim == 3 and pixels.shape[-1] in (2, 4):
        if (pixels[..., -1] != pixels[..., -1].max()).any():
            raise UserError(f"{path} is a mask with transparent pixels; save it without transparency")
        pixels = pixels[..., :-1]
    found = pixels.astype(np.int32).reshape(*pixels.shape[:2], -1)
    red, green, blue = (found[..., min(k, found.shape[-1] - 1)] for k in range(3))
    gray = (red == green) & (green == blue)
    found = np.where(gray, red, _COLOR + (red << 16) + (green << 8) + blue)
    if path.suffix.lower() not in LOSSY:
        return found
    if not values or max(values) >= _COLOR:
        raise UserError(
            f"{path} is a mask that was saved with loss, so its values are not exact; save masks as PNG, or give the "
            "gray value of each class, such as values=(0, 255): each pixel then gets the nearest"
        )
    ordered, level = np.sort(np.array(values)), np.where(gray, red, (red + green + blue) // 3)
    return ordered[np.searchsorted((ordered[1:] + ordered[:-1]) / 2, level)].astype(np.int32)


def count(paths: Sequence[Path], values: Sequence[int]) -> dict[str, np.ndarray]:
    """`codes` [U] of all masks in order, `counts` [N, U] of their pixels, and `colors` [U, 3] where a palette has them.

    Raises:
      UserError: a file cannot be read as a mask, or there are too many values.
    """
    each: list[tuple[np.ndarray, np.ndarray]] = []
    seen: set[int] = set()
    palette: list[int] | None = None
    for path in paths:
        each.append(np.unique(read(path, values), return_counts=True))
        seen.update(each[-1][0].tolist())
        palette = _palette(path) if palette is None else palette
        if len(seen) > _MOST:
            raise UserError(
                f"{path} and the masks before it hold more than {_MOST} values: they are no masks, or were smoothed; "
                "save one value for each class"
            )
    codes = np.array(sorted(seen), np.int64)
    counts = np.zeros((len(paths), len(codes)), np.int64)
    for row, (found, times) in enumerate(each):
        counts[row, np.searchsorted(codes, found)] = times
    own = [_color(int(one), palette or []) for one in codes]
    return {"codes": codes, "counts": counts, "colors": np.array(own, np.int16).reshape(-1, 3)}


def _color(code: int, palette: Sequence[int]) -> Sequence[int]:
    """The color of a code: its own, or that of a palette; negative where there is none."""
    told = value(code)
    return (palette[3 * told : 3 * told + 3] or (-1, -1, -1)) if isinstance(told, int) else told


def _palette(path: Path) -> list[int] | None:
    from PIL import Image

    with Image.open(path) as image:
        return image.getpalette() if image.mode == "P" else None


def choose(codes: Sequence[int], names: Sequence[str], ignored: int | None, where: str) -> tuple[int, ...]:
    """The codes that are classes: all but the ignored one, which is a class where it is needed for a second.

    Raises:
      UserError: all pixels have one value.

    Example:
      >>> choose([0, 1, 255], (), 255, "masks"), choose([0, 255], (), 255, "masks")
      ((0, 1), (0, 255))
    """
    rest = tuple(int(c) for c in codes if c != ignored)
    every = tuple(map(int, codes))
    if len(every) < 2:
        raise UserError(f"all pixels of {where} are {value(codes[0])}, expected two classes or more")
    return every if len(rest) < 2 or len(names) == len(every) else rest


def check(codes: Sequence[int], classes: Sequence[int], ignored: int | None, where: str) -> None:
    """Raises UserError for a value that is no class and is not ignored, or for a class that is given twice."""
    if len(set(classes)) < max(2, len(classes)):
        raise UserError(f"values are {[value(c) for c in classes]}, expected two or more, each once")
    if unknown := [value(int(c)) for c in codes if c not in classes and c != ignored]:
        told = ", ".join(str(value(c)) for c in classes)
        raise UserError(f"{where} hold the value {unknown[0]}, expected one of {told}, or ignore={ignored}")


def colors(count: int) -> list[tuple[int, int, int]]:
    """Distinct colors for classes that have none; the first is gray, as the background often is.

    Example:
      >>> colors(2)
      [(96, 96, 96), (230, 46, 46)]
    """
    wheel = [colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.8, 0.9) for k in range(count - 1)]
    return [(96, 96, 96), *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in wheel)][:count]
