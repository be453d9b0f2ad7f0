"""Annotations of objects in the layout of PASCAL VOC: a file of XML for each image, and lists of splits."""

from __future__ import annotations

import functools
import itertools
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from deeplab.core.errors import UserError
from deeplab.data.prepare import archives, folders, images
from deeplab.data.prepare.folders import SPLITS
from deeplab.data.prepare.frames import Frame
from deeplab.data.prepare.frames import objects as cells
from deeplab.data.sets.detection.annotations import Annotations, Object, side

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_DIFFICULT = {
    **dict.fromkeys(("1", "true", "yes"), True), **dict.fromkeys(("", "0", "false", "no", "unspecified"), False),
}  # fmt: skip


class Parsed(NamedTuple):
    """What a file tells: objects, and the width and height of their image, 0 where it does not."""

    objects: list[Object]
    size: tuple[int, int]


def parse(content: bytes, where: str) -> Parsed:
    """The objects of one image.

    Args:
      content: Bytes of the XML.
      where: Name of the file, for messages.

    Raises:
      UserError: it is no such file, or declares entities.
    """
    if b"<!ENTITY" in content:
        raise UserError(f"{where} declares entities, which annotations have no use for; it is refused")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise UserError(f"{where} is no XML ({error}); repair or remove it") from error
    found = []
    for number, item in enumerate(root.iter("object")):
        told = f"{where}, object {number}"
        x_min, y_min, x_max, y_max = (_number(item.findtext(f"bndbox/{name}"), name, told) for name in _SIDES)
        if not (name := (item.findtext("name") or "").strip()):
            raise UserError(f"{told}: no name, expected the class of the object")
        difficult = (item.findtext("difficult") or "").strip()
        if difficult.lower() not in _DIFFICULT:
            raise UserError(f"{told}: difficult is {difficult!r}, expected 1 or 0")
        found.append(Object(name, (x_min, y_min, x_max, y_max), _DIFFICULT[difficult.lower()], told))
    return Parsed(found, (side(root.findtext("size/width")), side(root.findtext("size/height"))))


def _number(text: str | None, side: str, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {side} is {text!r}, expected a number of pixels")
    return value


def read(source: str | Path) -> Annotations:
    """The images of a folder with `Annotations`, `JPEGImages` and, for splits, `ImageSets/Main`.

    The lists train.txt, val.txt and test.txt are the splits; trainval.txt is read where there is no train.txt. Without
    lists it is all images that have annotations.

    Args:
      source: The folder, one that holds it alone, or an archive.

    Raises:
      UserError: there is no such folder, a list names an image without annotations, or one is in two lists.
    """
    root = _home(archives.folder(source))
    files = {path.stem: path for path in folders.children(root / "Annotations") if path.suffix.lower() == ".xml"}
    split = _splits(root, files)
    if not split:
        split = dict.fromkeys(files, "")
        folders.tell(root, "images have no annotations, and are left out", _without(root / "JPEGImages", files))
    if lost := [name for name in split if name not in files]:
        raise UserError(
            f"{root}: {len(lost):,} images of the lists have no annotations, such as {lost[0]}.xml; add them, or "
            "correct the lists"
        )
    columns = {"image": cells([*split])} | ({"split": cells([*split.values()])} if any(split.values()) else {})
    told = [_of_file(files[name], files[name].stat().st_mtime_ns) for name in split]
    objects, sizes = [one.objects for one in told], [one.size for one in told]
    return Annotations(Frame(columns, str(root)), root / "JPEGImages", objects, sizes=sizes)


def _without(folder: Path, files: Collection[str]) -> list[Path]:
    """The images of a folder that have no annotations."""
    found = folders.children(folder) if folder.is_dir() else []
    return [path for path in found if path.suffix.lower() in images.SUFFIXES and path.stem not in files]


@functools.lru_cache(maxsize=2**17)
def _of_file(path: Path, mtime: int) -> Parsed:
    """What a file tells; kept, because a function of hyper-parameters is called often."""
    del mtime
    return parse(images.read_bytes(path), str(path))


def _home(root: Path) -> Path:
    """The folder itself, or the only one in it (or in that) that holds annotations."""
    found = [root, *sorted(root.glob("*/")), *sorted(root.glob("*/*/"))]
    homes = [path for path in found if (path / "Annotations").is_dir() and not folders.is_junk(path)]
    if len(homes) != 1:
        given = f"{len(homes)} folders" if homes else "no folder"
        raise UserError(
            f"{root} holds {given} Annotations; expected the layout of PASCAL VOC (Annotations/*.xml, JPEGImages), a "
            "CSV file of boxes, or the JSON of COCO's instances"
        )
    return homes[0]


def _splits(root: Path, files: Collection[str]) -> Mapping[str, str]:
    """The split of each image of the lists, in their order.

    A line is the name of an image, which may have spaces, or several names.
    """
    lists = {path.stem: path for path in (root / "ImageSets" / "Main").glob("*.txt")}
    if "train" not in lists and "trainval" in lists:
        lists = {"train": lists["trainval"]} | ({"test": lists["test"]} if "test" in lists else {})
    found: dict[str, str] = {}
    for stem in (stem for stem in SPLITS if stem in lists):
        lines = images.read_bytes(lists[stem]).decode("utf-8-sig", errors="replace").splitlines()
        each = ([line.strip()] if line.strip() in files else line.split() for line in lines)
        for name in itertools.chain.from_iterable(each):
            if found.setdefault(name, SPLITS[stem]) != SPLITS[stem]:
                raise UserError(f"{lists[stem]}: {name} is in split {found[name]!r}, too; give an image one split")
    if found and "train" not in found.values():
        raise UserError(f"{root / 'ImageSets' / 'Main'} has no train.txt; add it, or remove the lists")
    return found
