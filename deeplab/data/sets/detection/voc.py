"""Annotations of objects in the layout of PASCAL VOC: a file of XML for each image, and lists of splits."""

from __future__ import annotations

import functools
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from deeplab.core.errors import UserError
from deeplab.data.prepare import archives, folders, images
from deeplab.data.prepare.folders import SPLITS
from deeplab.data.prepare.frames import Frame, objects
from deeplab.data.sets.detection.annotations import Annotations, Object

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def parse(content: bytes, where: str) -> list[Object]:
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
        x_min, y_min, x_max, y_max = (_number(item.findtext(f"bndbox/{side}"), side, told) for side in _SIDES)
        if not (name := (item.findtext("name") or "").strip()):
            raise UserError(f"{told}: no name, expected the class of the object")
        difficult = (item.findtext("difficult") or "0").strip() == "1"
        found.append(Object(name, (x_min, y_min, x_max, y_max), difficult, told))
    return found


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

    The lists train.txt, val.txt and test.txt are the splits; trainval.txt is read where there is no train.txt.

    Args:
      source: The folder, one that holds it alone, or an archive.

    Raises:
      UserError: there is no such folder, a list names an image without annotations, or one is in two lists.
    """
    root = _home(archives.folder(source))
    files = {path.stem: path for path in folders.children(root / "Annotations") if path.suffix.lower() == ".xml"}
    split = _splits(root) or dict.fromkeys(files, "")
    if lost := [name for name in split if name not in files]:
        raise UserError(
            f"{root}: {len(lost):,} images of the lists have no annotations, such as {lost[0]}.xml; add them, or "
            "correct the lists"
        )
    columns = {"image": objects([*split])} | ({"split": objects([*split.values()])} if any(split.values()) else {})
    told = [_of_file(files[name], files[name].stat().st_mtime_ns) for name in split]
    return Annotations(Frame(columns, str(root)), root / "JPEGImages", told)


@functools.lru_cache(maxsize=2**17)
def _of_file(path: Path, mtime: int) -> list[Object]:
    """The objects of a file; kept, because a function of hyper-parameters is called often."""
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


def _splits(root: Path) -> Mapping[str, str]:
    """The split of each image of the lists, in their order."""
    lists = {path.stem: path for path in (root / "ImageSets" / "Main").glob("*.txt")}
    if "train" not in lists and "trainval" in lists:
        lists = {"train": lists["trainval"]} | ({"test": lists["test"]} if "test" in lists else {})
    found: dict[str, str] = {}
    for stem in (stem for stem in SPLITS if stem in lists):
        for name in images.read_bytes(lists[stem]).decode(errors="replace").split():
            if found.setdefault(name, SPLITS[stem]) != SPLITS[stem]:
                raise UserError(f"{lists[stem]}: {name} is in split {found[name]!r}, too; give an image one split")
    if found and "train" not in found.values():
        raise UserError(f"{root / 'ImageSets' / 'Main'} has no train.txt; add it, or remove the lists")
    return found
