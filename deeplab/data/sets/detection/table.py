"""A table with a row for each box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare.frames import Frame, objects
from deeplab.data.sets import listed
from deeplab.data.sets.detection.annotations import Annotations, Object


def read(
    source: Any, root: str | Path | None, image: str, label: str, corners: Sequence[str], split: str, group: str
) -> Annotations:
    """The images that a table names, and their objects.

    A row whose class and corners are empty names an image without objects.

    Args:
      source: Path of a CSV or Parquet file, a data frame, or a dict of columns.
      root: Folder that the names are relative to; the table's own when None.
      image: Name of the column with the names of the image files.
      label: Name of the column with the class.
      corners: Names of the columns with x_min, y_min, x_max and y_max.
      split: Name of a column with the split of each image, or "".
      group: Name of a column with the group of each image, or "".

    Raises:
      UserError: a column is missing, a cell is not what it should be, or the rows of an image differ in its split.
    """
    frame, folder = listed.table(source, root)
    files = frame.texts(frame.check(image, "the name of the image")).tolist()
    names = frame.texts(frame.check(label, "the class of the box")).tolist()
    sides = np.stack([frame.numbers(frame.check(side, "a side of the box")) for side in corners], axis=1)
    found: dict[str, list[Object]] = {}
    first: list[int] = []
    for row, (file, name, box) in enumerate(zip(files, names, sides, strict=True)):
        if file is None:
            raise UserError(f"{frame.at(image, row)}: empty, expected the name of a file")
        if file not in found:
            first.append(row)
        several = found.setdefault(file, [])
        gone = np.isnan(box)
        if name is None and gone.all():
            continue
        if name is None or gone.any():
            column = label if name is None else corners[int(np.argmax(gone))]
            raise UserError(f"{frame.at(column, row)}: empty, where the row tells a box; fill it in, or empty the row")
        x_min, y_min, x_max, y_max = box.tolist()
        several.append(Object(name, (x_min, y_min, x_max, y_max), False, f"{frame.where}, row {frame.row(row)}"))
    columns = {"image": objects([*found])}
    for name, column in (("split", split), ("group", group)):
        if column:
            columns[name] = objects(_of_images(frame, column, files, [*found]))
    return Annotations(Frame(columns, frame.where, [frame.row(row) for row in first]), folder, [*found.values()])


def _of_images(frame: Frame, column: str, files: Sequence[str], images: Sequence[str]) -> list[Any]:
    """What a column says of each image; all of its rows must say the same."""
    cells = frame.texts(frame.check(column, "what an image is in")).tolist()
    told: dict[str, Any] = {}
    for row, (file, cell) in enumerate(zip(files, cells, strict=True)):
        if told.setdefault(file, cell) != cell:
            raise UserError(f"{frame.at(column, row)}: {cell!r}, where another row of {file} says {told[file]!r}")
    return [told[name] for name in images]
