"""Annotations of objects in the JSON of COCO's instances."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deeplab.core.errors import UserError
from deeplab.data.prepare import images
from deeplab.data.prepare.frames import Frame, objects
from deeplab.data.sets.detection.annotations import Annotations, Object, side


def read(files: Mapping[str, str | Path], root: str | Path | None) -> Annotations:
    """The images of one file, or of one for each split.

    Args:
      files: File of each split; of the split "" where there is one file only, whose images are then split by chance.
      root: Folder that the names of the images are relative to; that of the first file when None.

    Raises:
      UserError: a file is not what it should be, the files differ in their categories, or two name one image.
    """
    paths = {split: Path(path).expanduser() for split, path in files.items()}
    first, *others = paths.values()
    if lost := [path for path in paths.values() if not path.is_file()]:
        raise UserError(f"there is no file {lost[0]}; expected the JSON of COCO's instances")
    parts = {split: _of_file(path, path.stat().st_mtime_ns) for split, path in paths.items()}
    classes = _of_file(first, first.stat().st_mtime_ns).classes
    for path, part in zip(others, [*parts.values()][1:], strict=True):
        if part.classes != classes:
            raise UserError(f"{path} has other categories than {first}; expected the same in all")
    names = [name for part in parts.values() for name in part.names]
    splits = [split for split, part in parts.items() for _ in part.names]
    columns = {"image": objects(names)} | ({"split": objects(splits)} if any(splits) else {})
    home = first.parent if root is None else Path(root).expanduser()
    told = [each for part in parts.values() for each in part.objects]
    sizes = [size for part in parts.values() for size in part.sizes]
    return Annotations(Frame(columns, str(first)), home.resolve(), told, classes, sizes)


class _Part(NamedTuple):
    """Names and sizes of the images of one file, the objects of each, and the names of all classes."""

    names: list[str]
    objects: list[list[Object]]
    classes: tuple[str, ...]
    sizes: list[tuple[int, int]]


@functools.lru_cache(maxsize=8)
def _of_file(path: Path, mtime: int) -> _Part:
    """What a file tells; kept, because a function of hyper-parameters is called often."""
    del mtime
    content, where = _load(path), str(path)
    classes = {row["id"]: str(row["name"]) for row in _rows(content, "categories", ("id", "name"), where)}
    rows = {row["id"]: row for row in _rows(content, "images", ("id", "file_name"), where)}
    pictures = {number: str(row["file_name"]) for number, row in rows.items()}
    sizes = [(side(row.get("width")), side(row.get("height"))) for row in rows.values()]
    found: dict[Any, list[Object]] = {name: [] for name in pictures}
    for number, row in enumerate(_rows(content, "annotations", ("image_id", "category_id", "bbox"), where)):
        place = f"{where}, annotation {row.get('id', number)}"
        if row["image_id"] not in found:
            raise UserError(f"{place}: no image has the id {row['image_id']}")
        if row["category_id"] not in classes:
            raise UserError(f"{place}: no category has the id {row['category_id']}")
        box = _box(row["bbox"], place)
        found[row["image_id"]].append(Object(classes[row["category_id"]], box, bool(row.get("iscrowd")), place))
    return _Part([*pictures.values()], [*found.values()], tuple(classes.values()), sizes)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(images.read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON ({error}); repair or remove it") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, expected images, annotations and categories")
    return content


def _rows(content: Mapping[str, Any], name: str, keys: tuple[str, ...], where: str) -> list[dict[str, Any]]:
    """A list of records of the file, each with these keys."""
    rows = content.get(name)
    if not isinstance(rows, list):
        raise UserError(f"{where} has no list {name!r}; expected images, annotations and categories, as COCO has them")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or any(key not in row for key in keys):
            raise UserError(f"{where}: {name}[{number}] is no record with {', '.join(keys)}")
    return rows


def _box(given: Any, where: str) -> tuple[float, float, float, float]:
    """x, y, width and height as corners."""
    numbers = given if isinstance(given, list) else []
    if len(numbers) != 4 or not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
        raise UserError(f"{where}: bbox is {given!r}, expected [x, y, width, height] in pixels")
    x, y, width, height = map(float, numbers)
    return x, y, x + width, y + height
