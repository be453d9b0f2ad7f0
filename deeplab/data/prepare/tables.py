"""A user's CSV files; errors name the row and the column."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core.errors import UserError, nearest
from deeplab.data.prepare import texts

TABS = (".tsv", ".tab")
"""Suffixes of files whose cells are separated by tabs."""


def rows(content: bytes, name: str) -> list[tuple[int, list[str]]]:
    r"""The number and the cells of each row of a CSV file; the first holds the names of the columns.

    Rows are counted as in an editor, from 1 on. Blank lines are left out, and so are rows of empty cells at the end,
    which spreadsheets leave there.

    Args:
      content: Bytes of the file.
      name: Name of the file, for messages. If it ends in .tsv or .tab, tabs separate the cells, and none is quoted: a
        quotation mark is a character like any other.

    Raises:
      UserError: the content is no UTF-8 text, no CSV, or separated otherwise, or a row has more or fewer cells than the
        first.

    Example:
      >>> rows(b'film,rating\n\n"Crying Game, The",5\n,\n', "mine.csv")
      [(1, ['film', 'rating']), (3, ['Crying Game, The', '5'])]
    """
    tabs = name.lower().endswith(TABS)
    form: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"skipinitialspace": True}
    reader = csv.reader(io.StringIO(texts.decode(content, name)), strict=True, **form)
    try:
        found = [(reader.line_num, row) for row in reader if len(row) > 1 or "".join(row).strip()]
    except csv.Error as error:
        raise UserError(f"{name}, row {reader.line_num} cannot be read as CSV ({error})") from error
    while found and not any(map(str.strip, found[-1][1])):
        found.pop()
    alone = found[0][1][0] if found and len(found[0][1]) == 1 and not tabs else ""
    if mark := next((mark for mark in ";\t" if mark in alone), ""):
        raise UserError(f"{name} separates its cells by {mark!r}; write commas instead, and decimals with a point")
    for line, row in found:
        if len(row) != len(found[0][1]):
            raise UserError(
                f"{name}, row {line} has {len(row)} cells, expected {len(found[0][1])} as in the first row; write "
                "decimals with a point, and quote cells that hold commas"
            )
    return found


def read(path: Path, columns: Sequence[str]) -> dict[str, Float[ndarray, " N"]]:
    r"""The given columns of a CSV file; see `parse`.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "mine.csv")
      >>> _ = path.write_text("date,b,a\n2016-07-01,1,2\n", encoding="utf-8")
      >>> {name: column.tolist() for name, column in read(path, ("a", "b")).items()}
      {'a': [2.0], 'b': [1.0]}
    """
    return parse(texts.read_bytes(path), columns, str(path))


def parse(content: bytes, columns: Sequence[str], name: str) -> dict[str, Float[ndarray, " N"]]:
    r"""Numbers in the given columns of a CSV file, in any order; other columns are ignored.

    Args:
      content: Bytes of the file.
      columns: Names of the columns.
      name: Name of the file, for messages.

    Raises:
      UserError: the content is no table (see `rows`) or has no rows, a column is missing or duplicated, or a cell is no
        finite number.

    Example:
      >>> parse(b"date,b,a\n2016-07-01,1,2\n", ("a", "b"), "mine.csv")["a"].tolist()
      [2.0]
    """
    found = rows(content, name)
    expected = f"expected a first row with the names {', '.join(columns)}"
    names = [cell.strip() for cell in found[0][1]] if found else []
    if missing := [column for column in columns if column not in names]:
        hint = nearest(missing[0], names) if names else "it is empty"
        raise UserError(f"{name} has no column {', '.join(map(repr, missing))}; {hint} ({expected})")
    for column in columns:
        if names.count(column) > 1:
            raise UserError(f"{name} has the column {column!r} twice; {expected}")
    if len(found) < 2:
        raise UserError(f"{name} has no rows of numbers; {expected}, and numbers below")
    indices = [names.index(column) for column in columns]
    values = np.empty((len(found) - 1, len(columns)))
    for i, (line, row) in enumerate(found[1:]):
        for j, (column, index) in enumerate(zip(columns, indices, strict=True)):
            values[i, j] = number(row[index], f"{name}, row {line}, column {column!r}")
    return dict(zip(columns, values.T, strict=True))


def number(cell: str, where: str) -> float:
    """A finite number.

    Args:
      cell: Text of a cell.
      where: Place of the cell, for messages.

    Raises:
      UserError: the cell holds something else.

    Example:
      >>> number(" 2.5 ", "mine.csv, row 2")
      2.5
      >>> number("1_000", "mine.csv, row 3")
      Traceback (most recent call last):
      deeplab.core.errors.UserError: mine.csv, row 3: '1_000', expected a finite number
    """
    given = cell.strip()
    try:
        value = math.nan if "_" in given else float(given)  # Python reads 1_000 as a number
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {repr(given[:40]) if given else 'empty'}, expected a finite number")
    return value
