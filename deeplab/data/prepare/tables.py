"""Numbers in named columns of a user's CSV file; errors name the row and the column."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core.errors import UserError, nearest


def read(path: Path, columns: Sequence[str]) -> dict[str, Float[ndarray, " N"]]:
    """The given columns of a CSV file whose first row holds the names, in any order; other columns are ignored.

    Raises:
      UserError: the file is no UTF-8 text or has no rows, a column is missing or duplicated, a row is too short, or a
        cell is no finite number. Rows are counted as in an editor: the names are row 1.
    """
    lines, expected = rows(_content(path), str(path)), f"expected a first row with the names {', '.join(columns)}"
    if len(lines) < 2:
        raise UserError(f"{path} has no rows of numbers; {expected}, and numbers below")
    names = [name.strip() for name in lines[0][1]]
    for column in columns:
        if column not in names:
            raise UserError(f"{path} has no column {column!r}; {nearest(column, names)} ({expected})")
        if names.count(column) > 1:
            raise UserError(f"{path} has the column {column!r} twice; {expected}")
    indices = [names.index(column) for column in columns]
    values = np.empty((len(lines) - 1, len(columns)))
    for i, (line, row) in enumerate(lines[1:]):
        for j, (column, index) in enumerate(zip(columns, indices, strict=True)):
            values[i, j] = _number(row[index] if index < len(row) else "", f"{path}, row {line}, column {column!r}")
    return dict(zip(columns, values.T, strict=True))


def rows(content: bytes, name: str) -> list[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, the names among them, each with its number as in an editor.

    Args:
      content: Bytes of the file.
      name: Name of the file, for messages.

    Raises:
      UserError: the content is no UTF-8 text, or no CSV.
    """
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), skipinitialspace=True)
        return [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name} cannot be read as CSV in UTF-8 ({error})") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error})") from error


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        given = repr(cell.strip()[:40]) if cell.strip() else "empty"
        raise UserError(f"{where}: {given}, expected a number") from None
    if not math.isfinite(value):
        raise UserError(f"{where}: {cell.strip()}, expected a finite number")
    return value
