"""Image files as they are seen: decoded, upright, 8 bits deep and opaque; scaled to fit and cropped, or refused."""

from __future__ import annotations

import concurrent.futures
import io
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeplab.core.errors import UserError, raise_all

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
"""Suffixes of the files that `load` reads, in lower case."""

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF


def load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """One image file as [H, W, C] uint8: `decode`, then `fit`.

    Raises:
      UserError: the file is not an image that Pillow can decode.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "a.png")
      >>> _ = path.write_bytes(png(np.full((4, 8, 3), 200, np.uint8)))
      >>> load(path, (2, 2, 1))[..., 0].tolist()  # scaled, cropped and gray
      [[200, 200], [200, 200]]
    """
    return fit(decode(read_bytes(path), str(path), shape[-1]), shape)


def read_bytes(path: Path) -> bytes:
    """The content of a file; UserError where it cannot be read.

    Example:
      >>> read_bytes(Path("no-such-image.png"))
      Traceback (most recent call last):
      deeplab.core.errors.UserError: no-such-image.png cannot be read (No such file or directory); repair or remove it
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); repair or remove it") from error


def load_all(
    paths: Sequence[Path],
    shape: tuple[int, ...],
    load: Callable[[Path, tuple[int, ...]], np.ndarray] = load,
) -> np.ndarray:
    """Image files as [N, H, W, C] uint8.

    Args:
      paths: Files.
      shape: Shape of one image.
      load: Function that reads one file.

    Raises:
      UserError: files cannot be decoded; the message is about all of them.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "a.png")
      >>> _ = path.write_bytes(png(np.zeros((4, 4, 1), np.uint8)))
      >>> load_all([path, path], (4, 4, 1)).shape
      (2, 4, 4, 1)
    """
    made = np.empty((len(paths), *shape), np.uint8)

    def fill(i: int) -> UserError | None:
        try:
            made[i] = load(paths[i], shape)
        except UserError as error:
            return error
        return None

    with concurrent.futures.ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
        failed = [error for error in pool.map(fill, range(len(paths))) if error]
    raise_all(failed)
    return made


def decode(content: bytes, name: str, channels: int) -> Image.Image:
    """An encoded image as a viewer shows it, gray (1 channel) or RGB (3), 8 bits deep.

    It is turned as its EXIF orientation says. 16 bits (in TIFF, those declared) and floats in [0, 1] are scaled
    to 8 bits. What is transparent shows a white background. Color profiles are not applied. Of several frames or pages
    the first is read, with a warning.

    Args:
      content: Bytes of the file.
      name: Name of the file, for messages.
      channels: Number of channels, 1 or 3.

    Raises:
      UserError: the content is no image that Pillow can decode, or has values of an unknown range.

    Example:
      >>> image = decode(png(np.zeros((2, 3, 4), np.uint8)), "clear.png", channels=3)  # black, and transparent
      >>> image.size, image.getpixel((0, 0))
      ((3, 2), (255, 255, 255))
    """
    image, white = _upright(content, name)
    try:
        return _flat(_eight_bits(image, white), channels)
    except Exception as error:  # a mode that Pillow does not convert
        raise _unreadable(name, error) from error


def stored(content: bytes, name: str) -> np.ndarray:
    """The values of an encoded image as they are stored, such as a palette's indices, [H, W] or [H, W, C]; upright.

    Raises:
      UserError: the content is no image that Pillow can decode.

    Example:
      >>> from PIL import Image
      >>> file = io.BytesIO()
      >>> Image.new("P", (3, 2), color=1).save(file, "png")  # color 1 of a palette
      >>> stored(file.getvalue(), "a.png").tolist()
      [[1, 1, 1], [1, 1, 1]]
    """
    values = np.asarray(_upright(content, name)[0])
    return values.astype(np.uint8) if values.dtype == bool else values


def _upright(content: bytes, name: str) -> tuple[Image.Image, float]:
    """The first picture of a file, turned as its EXIF orientation says, and the value of white; see `_white`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content)) as image:
            white = _white(image)
            # The further pictures of a camera's MPO file are previews and depths of the first.
            several = getattr(image, "is_animated", False) and image.format != "MPO"
            upright = ImageOps.exif_transpose(image)
        if 0 in upright.size:
            raise ValueError(f"it has {upright.width} x {upright.height} pixels")
    except Exception as error:  # decoders raise anything for a damaged file
        raise _unreadable(name, error) from error
    if several:
        warnings.warn(f"{name} holds several frames or pages; the first is read", stacklevel=3)
    return upright, white


def _white(image: Image.Image) -> float:
    """The value of white in an opened file of more than 8 bits; negative where white is 0, NaN where it is unknown."""
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        return 1
    if image.mode == "I" and image.format != "PPM":  # Pillow scales a PPM file's deep values to 16 bits
        return math.nan
    return (2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1) * (-1 if tags.get(_PHOTOMETRIC) == 0 else 1)


def _unreadable(name: str, error: Exception) -> UserError:
    why = str(error) or type(error).__name__
    return UserError(f"{name} is not an image that can be read ({why}); repair or remove it")


def _eight_bits(image: Image.Image, white: float) -> Image.Image:
    """Values of more than 8 bits scaled to 8, where Pillow's own conversion cuts them off at 255."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= abs(white)):  # NaN, too
        limit = "of unknown range" if math.isnan(white) else f"from {values.min():g} to {values.max():g}, not 0 to 1"
        raise ValueError(f"its values are {limit}; save it with 8 or 16 bits")
    share = values / white + (white < 0)  # of white, 0 to 1
    gray = Image.fromarray(np.round(255 * share).astype(np.uint8))
    if (clear := image.info.get("transparency")) is not None:
        gray.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return gray


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """Gray or RGB, on white where the image is transparent."""
    from PIL import Image

    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image.convert("L" if channels == 1 else "RGB")


def fit(image: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    """A gray or RGB image as [H, W, C] uint8: its shorter side is scaled to fit, and the center is cropped.

    Example:
      >>> from PIL import Image
      >>> fit(Image.fromarray(np.array([[9, 7, 7, 9]] * 2, np.uint8)), (2, 2, 1))[..., 0].tolist()
      [[7, 7], [7, 7]]
    """
    from PIL import Image, ImageOps

    height, width, _ = shape
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC), np.uint8).reshape(shape)


def fit_labels(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels of pixels, [h, w] uint8, as [H, W]: cropped as `fit` crops their image, to the nearest pixel.

    Example:
      >>> fit_labels(np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.uint8), (2, 2, 1)).tolist()
      [[1, 2], [5, 6]]
    """
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(labels), (shape[1], shape[0]), Image.Resampling.NEAREST), np.uint8)


def fit_array(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array [h, w, C] uint8 as [H, W, C] by `fit`; returned as it is where the shape is right already.

    Example:
      >>> fit_array(np.full((4, 6, 3), 9, np.uint8), (1, 2, 1)).tolist()
      [[[9], [9]]]
    """
    if image.shape == tuple(shape):
        return image
    from PIL import Image

    given = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    return fit(_flat(given, shape[-1]), shape)


def png(image: np.ndarray) -> bytes:
    """An array [H, W, C] uint8 encoded as PNG, without loss.

    Example:
      >>> stored(png(np.array([[[7], [0]]], np.uint8)), "a.png").tolist()
      [[7, 0]]
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "png")
    return buffer.getvalue()
