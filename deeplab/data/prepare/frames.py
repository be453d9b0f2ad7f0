"""Named columns of a user's table, read as numbers, dates or texts; errors name the row and the column."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from deeplab.core.errors import UserError, nearest

_WITH_COMMAS = re.compile(r"[+-]?\d+(,\d+)+(\.\d+)?|[+-]?\d+(\.\d{3})*,\d+")  # 1,5 or 1,000.5 or 1.000,5

Kind = Literal["number", "category", "date"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """Columns of one length, as they were given: numbers (NaN where missing), times (NaT), or text (None).

    Args:
      columns: Arrays [N] by name: floats, datetime64[s], or object with strings.
      where: Name of the source, for messages.
      lines: Number of each row in its file; the rows' positions when empty.

    Example:
      >>> frame = Frame({"age": objects(["31", None, "many"])}, "patients.csv", lines=(2, 3, 4))
      >>> frame.missing("age").tolist()
      [False, True, False]
      >>> frame.numbers("age")
      Traceback (most recent call last):
      deeplab.core.errors.UserError: patients.csv, row 4, column 'age': 'many', expected a number
    """

    columns: Mapping[str, np.ndarray]
    where: str = "the table"
    lines: Sequence[int] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over names and values."""
        total = hashlib.sha256()
        for name, column in self.columns.items():
            values = repr(column.tolist()) if column.dtype == object else np.ascontiguousarray(column).tobytes().hex()
            total.update(repr((name, column.dtype.str, values)).encode())
        return total.hexdigest()

    def check(self, name: str, what: str) -> str:
        """The name, if there is such a column.

        Raises:
          UserError: there is none; the message names the nearest.
        """
        if name not in self.columns:
            raise UserError(f"{self.where} has no column {name!r}, which is {what}; {nearest(name, self.columns)}")
        return name

    def at(self, name: str, row: int) -> str:
        """Where a cell is, for messages."""
        return f"{self.where}, row {self.row(row)}, column {name!r}"

    def row(self, row: int) -> int:
        """Number of a row in its file."""
        return self.lines[row] if self.lines else row

    def missing(self, name: str) -> np.ndarray:
        """Whether each cell is missing, [N]."""
        column = self.columns[name]
        if column.dtype == object:
            return np.array([cell is None for cell in column], bool)
        return np.isnan(column) if column.dtype.kind == "f" else np.isnat(column)

    def kind(self, name: str) -> Kind:
        """What a column holds: numbers or dates if all of its cells are such, else categories.

        Raises:
          UserError: most cells are numbers (or dates), and some are not; or at least half of them are numbers with a
            comma. The message names the first.
        """
        column = self.columns[name]
        if column.dtype != object:
            return "number" if column.dtype.kind == "f" else "date"
        present = np.flatnonzero(~self.missing(name)).tolist()
        commas = [i for i in present if _WITH_COMMAS.fullmatch(column[i].strip())]
        if commas and len(commas) * 2 >= len(present):
            raise UserError(
                f"{self.at(name, commas[0])}: {column[commas[0]]!r}, and {len(commas):,} of {len(present):,} cells are "
                f"numbers with a comma; write decimals with a point and thousands without a mark, or give "
                f"categories=({name!r},) if the column holds categories"
            )
        kinds: tuple[tuple[Kind, Callable[[str], Any]], ...] = (("number", as_number), ("date", _date))
        for kind, read in kinds:
            wrong = [i for i in present if read(column[i]) is None]
            if len(present) and not wrong:
                return kind
            if len(wrong) * 2 < len(present):
                cell = column[wrong[0]]
                raise UserError(
                    f"{self.at(name, wrong[0])}: {cell!r}, where {len(present) - len(wrong):,} of {len(present):,} "
                    f"cells hold a {kind}; correct the cell, give missing=({cell!r},) if it stands for a missing "
                    f"value, or categories=({name!r},) if the column holds categories"
                )
        return "category"

    def numbers(self, name: str) -> np.ndarray:
        """A column as float64, NaN where missing.

        Raises:
          UserError: a cell is no finite number; the message names it.
        """
        column = self.columns[name]
        values = self._read(name, as_number, np.nan, "a number") if column.dtype == object else column
        if values.dtype.kind != "f":
            raise UserError(f"column {name!r} of {self.where} holds times, expected numbers")
        if infinite := np.flatnonzero(np.isinf(values)).tolist():
            raise UserError(f"{self.at(name, infinite[0])}: {values[infinite[0]]}, expected a finite number")
        return values.astype(np.float64, copy=False)

    def dates(self, name: str) -> np.ndarray:
        """A column as datetime64[s], NaT where missing.

        Raises:
          UserError: a cell is no date; the message names it.
        """
        column = self.columns[name]
        if column.dtype.kind == "f":
            raise UserError(f"column {name!r} of {self.where} holds numbers, expected dates such as 2024-12-31")
        return self._read(name, _date, None, "a date such as 2024-12-31").astype("M8[s]")

    def texts(self, name: str) -> np.ndarray:
        """A column as strings, None where missing; numbers in their shortest form, that of their precision."""
        column = self.columns[name]
        if column.dtype == object:
            return column
        cells = [None if gone else text_of(cell) for cell, gone in zip(column, self.missing(name), strict=True)]
        return objects(cells)

    def _read(self, name: str, read: Callable[[str], Any], absent: Any, expected: str) -> np.ndarray:
        """The cells of a column of text, read one by one; other columns as they are."""
        column = self.columns[name]
        if column.dtype != object:
            return column
        values = []
        for i, cell in enumerate(column):
            value = absent if cell is None else read(cell)
            if value is None and cell is not None:
                raise UserError(f"{self.at(name, i)}: {cell!r}, expected {expected}")
            values.append(value)
        return np.array(values, float if read is as_number else "M8[s]")


def text_of(cell: Any) -> str:
    """A cell as text; a number with the fewest digits that tell it, a whole one without a decimal point.

    Example:
      >>> text_of(3.0), text_of(np.float32(0.1)), text_of(True), text_of("b")
      ('3', '0.1', 'True', 'b')
    """
    whole = isinstance(cell, float | np.floating) and math.isfinite(cell) and cell == int(cell)
    return str(int(cell)) if whole else str(cell)


def as_number(text: str) -> float | None:
    """The number that a text is, or None; one with "_", which Python leaves out, is a name.

    Example:
      >>> as_number("1e3"), as_number("many"), as_number("1_2")
      (1000.0, None, None)
    """
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def ordered(names: Iterable[str]) -> list[str]:
    """Each name once, sorted; as numbers if all are.

    Example:
      >>> ordered(["10", "9", "10"]), ordered(["b", "10", "9"])
      (['9', '10'], ['10', '9', 'b'])
    """
    numbers = {name: as_number(name) for name in names}
    finite = [(number, name) for name, number in numbers.items() if number is not None and math.isfinite(number)]
    return [name for _, name in sorted(finite)] if len(finite) == len(numbers) else sorted(numbers)


def _date(text: str) -> datetime.date | None:
    try:
        return naive(datetime.datetime.fromisoformat(text))
    except (ValueError, OverflowError):  # the latter where UTC would be before the year 1
        return None


def naive(time: datetime.date) -> datetime.date:
    """A time without a zone, in UTC; NumPy knows no others.

    Example:
      >>> naive(datetime.datetime.fromisoformat("2024-01-01T01:00+02:00")).isoformat()
      '2023-12-31T23:00:00'
    """
    if isinstance(time, datetime.datetime) and time.tzinfo is not None:
        return time.astimezone(datetime.UTC).replace(tzinfo=None)
    return time


def objects(cells: Sequence[Any]) -> np.ndarray:
    """An array of objects, [N], whatever they are.

    Example:
      >>> objects([[1, 2], [3, 4]]).shape, np.array([[1, 2], [3, 4]]).shape
      ((2,), (2, 2))
    """
    array = np.empty(len(cells), object)
    array[:] = cells
    return array
