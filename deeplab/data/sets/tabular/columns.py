"""Columns of a table as a model reads them, by statistics of the training rows alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from deeplab.data.prepare.frames import Frame, Kind

DATE_PARTS = ("year", "month", "weekday", "hour")
"""Numbers that a date becomes: weekday 0 is Monday, and the hour has a fraction."""


def is_constant(values: Float[np.ndarray, " N"]) -> bool:
    """Whether numbers differ by rounding errors alone, as those of a constant 0.1 do, whatever their unit.

    Example:
      >>> is_constant(np.full(3, 0.1) + [0.0, 1e-17, 0.0]), is_constant(np.array([4.7e-12, 4.4e-12]))
      (True, False)
    """
    return not len(values) or bool(np.std(values) <= 1e-12 * np.max(np.abs(values)))


@dataclasses.dataclass(frozen=True)
class Number:
    """A number, (x - mean) / std, and 0 where it is missing; with a second number, 1 where it is missing.

    Args:
      column: Name of the column.
      part: One of `DATE_PARTS`, for a column of dates.
      mean: Mean over the training rows.
      std: Standard deviation over the training rows; 0 for a constant, which the model does not get.
      indicator: Whether the model is told which values are missing: some, but not all, are in the training rows.
    """

    column: str
    part: str = ""
    mean: float = 0.0
    std: float = 1.0
    indicator: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers."""
        value = f"{self.column} {self.part}".strip()
        return (value,) * bool(self.std) + (f"{self.column} is missing",) * self.indicator

    def fitted(self, frame: Frame, train: Int[np.ndarray, " M"]) -> Number:
        """The same with the statistics of these rows."""
        values = self._values(frame)[train]
        present = values[np.isfinite(values)]
        mean, std = (float(present.mean()), float(present.std())) if len(present) else (0.0, 0.0)
        std = 0.0 if is_constant(present) else std
        indicator = 0 < len(present) < len(values) and self.part in ("", DATE_PARTS[0])
        return dataclasses.replace(self, mean=mean, std=std, indicator=indicator)

    def encoded(self, frame: Frame) -> Float[np.ndarray, "N F"]:
        """The numbers of every row, one for each of `names`."""
        values = self._values(frame)
        missing = np.isnan(values)
        scaled = [np.where(missing, 0.0, (values - self.mean) / self.std)] if self.std else []
        return np.stack([*scaled, *[missing] * self.indicator], axis=1).astype(np.float32)

    def _values(self, frame: Frame) -> Float[np.ndarray, " N"]:
        return part_of(frame.dates(self.column), self.part) if self.part else frame.numbers(self.column)


@dataclasses.dataclass(frozen=True)
class Category:
    """A category as an integer: 0 for one that the training rows do not hold, then `values` in order.

    Args:
      column: Name of the column.
      values: Categories of the training rows, sorted; a missing one is the last, None.
    """

    column: str
    values: tuple[str | None, ...] = ()

    @property
    def size(self) -> int:
        """Number of classes, the unknown one included."""
        return len(self.values) + 1

    def fitted(self, frame: Frame, train: Int[np.ndarray, " M"]) -> Category:
        """The same with the categories of these rows."""
        found = set(frame.texts(self.column)[train].tolist())
        known: list[str | None] = sorted(cell for cell in found if cell is not None)
        return dataclasses.replace(self, values=(*known, *[None] * (None in found)))

    def encoded(self, frame: Frame) -> Int[np.ndarray, " N"]:
        """The class of every row."""
        number = {value: i for i, value in enumerate(self.values, start=1)}
        return np.array([number.get(cell, 0) for cell in frame.texts(self.column).tolist()], np.int32)


class Features(NamedTuple):
    """The columns that a model reads.

    Attributes:
      numbers: Columns of numbers, and the parts of dates.
      categories: Columns of categories.
    """

    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers, [F]."""
        return tuple(name for number in self.numbers for name in number.names)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of classes of each category, the unknown one included, [C]."""
        return tuple(category.size for category in self.categories)

    def encoded(self, frame: Frame) -> dict[str, np.ndarray]:
        """`numbers` [N, F] float32 and `categories` [N, C] int32 of every row."""
        parts = [number.encoded(frame) for number in self.numbers]
        codes = [category.encoded(frame) for category in self.categories]
        return {
            "numbers": np.concatenate([np.empty((len(frame), 0), np.float32), *parts], axis=1),
            "categories": np.stack(codes, axis=1) if codes else np.empty((len(frame), 0), np.int32),
        }


def fitted(frame: Frame, kinds: dict[str, Kind], train: Int[np.ndarray, " M"]) -> tuple[Features, list[str]]:
    """The columns with the statistics of the training rows, and the names of those that are constant there.

    Args:
      frame: All rows.
      kinds: Kind of each column.
      train: Training rows.
    """
    numbers = [
        Number(name, part)
        for name, kind in kinds.items()
        if kind != "category"
        for part in (DATE_PARTS if kind == "date" else ("",))
    ]
    numbers = [number.fitted(frame, train) for number in numbers]
    categories = [Category(name).fitted(frame, train) for name, kind in kinds.items() if kind == "category"]
    kept = [number for number in numbers if number.names], [c for c in categories if len(c.values) > 1]
    used = {column.column for columns in kept for column in columns}
    return Features(tuple(kept[0]), tuple(kept[1])), [name for name in kinds if name not in used]


def part_of(dates: np.ndarray, part: str) -> Float[np.ndarray, " N"]:
    """One of `DATE_PARTS` of times [N], NaN where missing.

    Example:
      >>> dates = np.array(["2024-12-31T06:30:00", "NaT"], "M8[s]")
      >>> [part_of(dates, part).tolist() for part in DATE_PARTS]
      [[2024.0, nan], [12.0, nan], [1.0, nan], [6.5, nan]]
    """
    days, gone = dates.astype("M8[D]"), np.isnat(dates)
    months = dates.astype("M8[M]").astype(np.int64)
    read = {
        "year": lambda: 1970 + months // 12,
        "month": lambda: 1 + months % 12,
        "weekday": lambda: (days.astype(np.int64) + 3) % 7,  # 1970 began on a Thursday
        "hour": lambda: (dates - days).astype(np.int64) / 3600,
    }
    return np.where(gone, np.nan, np.where(gone, 0, read[part]()))


def kinds_of(
    frame: Frame, names: Sequence[str], categories: Collection[str], dates: Collection[str]
) -> dict[str, Kind]:
    """The kind of each column: as told, else as found."""
    told: dict[str, Kind] = {**dict.fromkeys(categories, "category"), **dict.fromkeys(dates, "date")}
    return {name: told.get(name) or frame.kind(name) for name in names}
