"""A user's own table: numbers in named columns of a CSV file, or an error that names the row and the column."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core.errors import UserError, nearest


def read(path: Path, columns: Sequence[str]) -> dict[str, Float[ndarray, " N"]]:
    """The columns asked for, of a CSV file whose first row names them, in any order; others are passed over.

    Raises:
      UserError: no text, no rows, a column that is missing or twice there, a row too short, or a cell that is no finite
        number; rows are counted as an editor does, the names being row 1.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8 ({error})") from error
    expected = f"expected a first row with the names {', '.join(columns)}"
    if len(rows) < 2:
        raise UserError(f"{path} has no rows of numbers; {expected}, and numbers below")
    names = [name.strip() for name in rows[0][1]]
    for column in columns:
        if column not in names:
            raise UserError(f"{path} has no column {column!r}; {nearest(column, names)} ({expected})")
        if names.count(column) > 1:
            raise UserError(f"{path} has {column!r} twice; {expected}")
    places = [names.index(column) for column in columns]
    values = np.empty((len(rows) - 1, len(columns)))
    for i, (line, row) in enumerate(rows[1:]):
        for j, (column, place) in enumerate(zip(columns, places, strict=True)):
            values[i, j] = _number(row[place] if place < len(row) else "", f"{path}, row {line}, column {column!r}")
    return dict(zip(columns, values.T, strict=True))


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        given = repr(cell.strip()[:40]) if cell.strip() else "empty"
        raise UserError(f"{where}: {given}, expected a number") from None
    if not math.isfinite(value):
        raise UserError(f"{where}: {cell.strip()}, expected a finite number")
    return value
