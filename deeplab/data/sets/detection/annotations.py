"""Objects in images, as annotations tell them, and as arrays of fixed size."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.errors import UserError, nearest
from deeplab.data.prepare import folders, images
from deeplab.data.prepare.frames import Frame

Box = tuple[float, float, float, float]

_SLACK = 1.0  # pixels that a box may exceed its image by: tools count the last pixel's number, or its far side
_SURE = 0.4  # score from which a detection is told to a user; average precision counts less sure ones, too


class Object(NamedTuple):
    """An object in an image.

    Attributes:
      name: Name of its class.
      box: x_min, y_min, x_max, y_max in pixels of the image as it is seen.
      ignored: Whether it neither teaches nor counts: a crowd, or one that is called difficult.
      where: Where it is told, for messages.
    """

    name: str
    box: Box
    ignored: bool
    where: str


class Annotations(NamedTuple):
    """Images and the objects in each.

    Attributes:
      images: Table with a row for each image: the columns "image", the name of its file, and "split" and "group" where
        they are told.
      root: Folder that the names are relative to.
      objects: Objects of each image.
      class_names: Names of the classes in their order; empty where they are those that occur, sorted.
      sizes: Width and height of each image where they are told, 0 where they are not; empty where none are.
    """

    images: Frame
    root: Path
    objects: Sequence[Sequence[Object]]
    class_names: tuple[str, ...] = ()
    sizes: Sequence[tuple[int, int]] = ()

    @property
    def digest(self) -> str:
        """Digest of what is told of the objects."""
        told = [[(found.name, found.box, found.ignored) for found in objects] for objects in self.objects]
        return hashlib.sha256(repr(told).encode()).hexdigest()


def checked(given: Annotations, class_names: Sequence[str] = ()) -> tuple[Annotations, list[str]]:
    """Annotations whose boxes have an area and whose classes are known, and where the boxes are told that have none.

    Names are compared as they are seen (NFC): an accented letter is one character, or two.

    Args:
      given: Annotations as they were read.
      class_names: Names of the classes that there are; those of the annotations when empty.

    Raises:
      UserError: all boxes are shares of their images, corners are swapped, a class is unknown, or there is no object.
    """
    objects = [[found._replace(name=_seen(found.name)) for found in several] for several in given.objects]
    every = [found for several in objects for found in several]
    names = tuple(dict.fromkeys(map(_seen, class_names or given.class_names)))
    names = names or tuple(sorted({found.name for found in every}))
    if any(has_area(found.box) for found in every) and all(abs(x) <= 1 for found in every for x in found.box):
        raise UserError(
            f"{given.images.where} tells no box outside of 0 to 1, such as {told(every[0].box)}, as shares of an "
            "image's width and height are; expected pixels: multiply them"
        )
    for found in every:
        x_min, y_min, x_max, y_max = found.box
        if x_max < x_min or y_max < y_min:
            raise UserError(
                f"{found.where}: the box {told(found.box)} has its corners swapped; expected x_min, y_min, x_max, y_max"
            )
        if found.name not in names:
            raise UserError(f"{found.where}: the class {found.name!r}; {nearest(found.name, names)}")
    kept = [[found for found in several if has_area(found.box)] for several in objects]
    if not any(kept):
        raise UserError(f"{given.images.where} tells no box of any size; expected some")
    empty = [found.where for found in every if not has_area(found.box)]
    return given._replace(objects=kept, class_names=names), empty


def _seen(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def side(told: Any) -> int:
    """A side of an image in pixels, as annotations tell it; 0 where they do not.

    Example:
      >>> [side(told) for told in ("640", 480.0, "0", None, "")]
      [640, 480, 0, 0, 0]
    """
    try:
        value = float(told)
    except (TypeError, ValueError):
        return 0
    return int(value) if math.isfinite(value) and value > 0 else 0


def check_told(path: Path, seen: tuple[int, int], told: tuple[int, int]) -> None:
    """Checks that an image has the size that its annotations tell; each is a width and a height.

    Raises:
      UserError: It has another, so that their boxes are of another image, or of one that is turned.
    """
    if any(there and there != here for here, there in zip(seen, told, strict=True)):
        turned = " (it is turned by its EXIF orientation, or they are)" if told == seen[::-1] else ""
        raise UserError(
            f"{path} has {seen[0]} x {seen[1]} pixels as it is seen, upright, and its annotations tell {told[0]} x "
            f"{told[1]}{turned}; use the image that was annotated, or correct the boxes and the size"
        )


def told(box: Box) -> str:
    """A box for a message."""
    return f"({', '.join(f'{x:g}' for x in box)})"


def has_area(box: Box) -> bool:
    """Whether a box has an area."""
    return box[2] > box[0] and box[3] > box[1]


def inside(found: Object, width: int, height: int) -> Box:
    """The box of an object, cut at the border of its image.

    Raises:
      UserError: it lies outside by more than a pixel.
    """
    x_min, y_min, x_max, y_max = found.box
    if min(x_min, y_min) < -_SLACK or x_max > width + _SLACK or y_max > height + _SLACK:
        raise UserError(
            f"{found.where}: the box {told(found.box)} is outside of its image of {width} x {height} pixels; expected "
            "pixels of the image as it is seen, upright"
        )
    return max(x_min, 0.0), max(y_min, 0.0), min(x_max, float(width)), min(y_max, float(height))


class Padded(NamedTuple):
    """Objects of several images as arrays of fixed size.

    Attributes:
      boxes: Boxes in pixels of the images as they are read, [N, M, 4] float32; zeros where there is none.
      classes: Classes, [N, M] int32; -1 where there is none.
      ignored: Whether each is ignored, [N, M].
    """

    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray


def padded(
    objects: Sequence[Sequence[Object]],
    sizes: Sequence[tuple[int, int]],
    size: tuple[int, int],
    most: int,
    class_names: Sequence[str],
) -> Padded:
    """Objects as arrays; those that lie outside of their image by up to a pixel are left out, with a warning.

    Args:
      objects: Objects of each image.
      sizes: Width and height of each image as it is stored.
      size: Height and width that the images are read with.
      most: Number M of rows.
      class_names: Names of the classes.

    Raises:
      UserError: a box is outside of its image.
    """
    shape = (len(objects), most)
    made = Padded(np.zeros((*shape, 4), np.float32), np.full(shape, -1, np.int32), np.zeros(shape, bool))
    number = {name: k for k, name in enumerate(class_names)}
    outside = []
    for i, (several, (width, height)) in enumerate(zip(objects, sizes, strict=True)):
        scale = np.array([size[1] / width, size[0] / height] * 2)
        boxes = [inside(found, width, height) for found in several]
        outside += [found.where for found, box in zip(several, boxes, strict=True) if not has_area(box)]
        kept = [(found, box) for found, box in zip(several, boxes, strict=True) if has_area(box)]
        for j, (found, box) in enumerate(kept):
            made.boxes[i, j] = np.asarray(box) * scale
            made.classes[i, j], made.ignored[i, j] = number[found.name], found.ignored
    folders.tell("boxes", "lie outside of their images, and are left out", outside)
    return made


def stretched(content: bytes, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, int]]:
    """An image file as [H, W, C] uint8, and its own width and height.

    All of it is scaled, so that no object is cropped. The IoU of boxes does not depend on the scales of x and y.

    Args:
      content: Bytes of the file.
      name: Name of the file, for messages.
      shape: Height, width and number of channels.

    Raises:
      UserError: the file is not an image that Pillow can decode.
    """
    from PIL import Image

    height, width, channels = shape
    seen = images.decode(content, name, channels)
    resized = seen.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.uint8).reshape(shape), seen.size


def described(prediction: Mapping[str, Any], class_names: Sequence[str], size: tuple[int, int]) -> dict[str, Any]:
    """One example's detections in the user's terms: how many of each class, and where, as shares of width and height.

    Args:
      prediction: `boxes` [D, 4], `scores` [D] and `classes` [D] of a `Detection`.
      class_names: Names of the classes.
      size: Height and width of the images that the boxes are of.

    Example:
      >>> made = {"boxes": np.array([[8, 0, 16, 8]]), "scores": np.array([0.75]), "classes": np.array([0])}
      >>> described(made, ("cell",), (16, 32))
      {'cell': 1, 'objects': 'cell 0.75 at 0.250 0.000 0.500 0.500'}
    """
    sure = (prediction["scores"] >= _SURE) & (prediction["classes"] >= 0)
    boxes = prediction["boxes"][sure] / np.array([size[1], size[0]] * 2)
    classes, scores = prediction["classes"][sure], prediction["scores"][sure]
    each = [
        f"{class_names[k]} {score:.2f} at {' '.join(f'{x:.3f}' for x in box)}"
        for k, score, box in zip(classes, scores, boxes, strict=True)
    ]
    counts = {name: int((classes == k).sum()) for k, name in enumerate(class_names)}
    return {name: count for name, count in counts.items() if count} | {"objects": "; ".join(each) or "none"}
