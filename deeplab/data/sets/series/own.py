"""A user's own time series: a file, a data frame, columns or an array."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import frame_sources
from deeplab.data.prepare.frames import Frame, text_of
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.fields import Field
from deeplab.data.sets.series import clock
from deeplab.data.sets.series.windows import Windows
from deeplab.data.sets.tabular import splitting
from deeplab.data.sets.tabular.columns import is_constant

Fill = Literal["", "previous", "linear"]


@dataclasses.dataclass(frozen=True)
class OwnSeries(Windows):
    """Windows of a table with a row for each time, oldest first, and a column for each channel; see `Windows`.

    A batch holds `history` [B, L, C] and `target` [B, H, C], (x - mean) / std by the training rows. With `fill` it
    holds `mask` [B, H, C], too, which leaves filled values out of loss and metrics.

    Args:
      source: Path of a CSV or Parquet file, a pandas data frame, a dict of columns, or an array [T, C] or [T].
      context: Length L of the past.
      horizon: Length H of the future.
      columns: Names of the channels; all columns of numbers but `time` when empty.
      time: Name of the column with the time of each row, whose steps must be equal. Without it, a single column of
        dates must be in order, and the rows are taken as they are.
      test: Share of the rows in the split "test", the latest ones, in (0, 1).
      validation: Share of the rows in the split "validation", those before, in [0, 1).
      fill: What becomes of a missing value: an error when empty, the last value before it ("previous"), or a straight
        line to the next value ("linear"), which a forecast could not know. Before the first value, that one.
      missing: Further texts, or numbers, that stand for a missing cell.

    Raises:
      UserError: the source cannot be read, a value is missing, no number or infinite, times are out of order, twice or
        at unequal steps (the message names the row), or a split is too short for a window.

    Example:
      >>> load = OwnSeries({"day": [*"abcdefghij"], "load": np.arange(10.0)}, context=3, horizon=1, test=0.3)
      >>> load.columns, dict(load.splits)
      (('load',), {'train': 4, 'test': 3})
      >>> load.describe({"forecast": np.zeros((1, 1))})  # the mean of the training rows
      {'load': [3.0]}
    """

    source: Any
    context: int = 96
    horizon: int = 24
    columns: tuple[str, ...] = ()
    time: str = ""
    test: float = 0.2
    validation: float = 0.0
    fill: Fill = ""
    missing: Sequence[Any] = ()
    name: str = "series"
    citation: str = ""
    cached: ClassVar[bool] = False

    def __post_init__(self) -> None:
        splitting.shares(self.test, self.validation, 0)
        for name in ("columns", "missing"):
            if isinstance(given := getattr(self, name), str):
                raise UserError(f"{name} is {given!r}, expected a tuple of names, such as ({given!r},)")
            object.__setattr__(self, name, tuple(map(text_of, given)))
        if self.fill not in ("", "previous", "linear"):
            raise UserError(f'fill is {self.fill!r}, expected "previous", "linear", or "" to refuse missing values')
        if not isinstance(self.source, str | Path | Frame):
            object.__setattr__(self, "source", frame_sources.read(_named(self.source), self.missing))
        frame = self.frame
        object.__setattr__(self, "columns", _channels(frame, self.columns, self.time))
        clock.check(frame, self.time, self.columns)
        rows, span = len(frame), self.context + self.horizon
        if rows - round(self.test * rows) - round(self.validation * rows) < span:
            raise UserError(
                f"{frame.where} has {rows:,} rows, of which {self.lengths[0]:,} are for training; expected at least "
                f"{span:,}, the context of {self.context} and the horizon of {self.horizon}; give smaller ones"
            )
        for split, share, length in zip(
            ("validation", "test"), (self.validation, self.test), self.lengths[1:], strict=True
        ):
            if share and not length:
                raise UserError(
                    f"split {split!r} of {frame.where} gets none of {rows:,} rows, a share of {share}; give more"
                )
        self.check_lengths()
        self.statistics  # noqa: B018  (raises for values that are missing)

    @property
    def frame(self) -> Frame:
        """The columns as they were given."""
        return frame_sources.read(self.source, self.missing)

    @property
    def lengths(self) -> tuple[int, int, int]:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen)
        rows = len(self.frame)
        test, validation = round(self.test * rows), round(self.validation * rows)
        return rows - test - validation, validation, test

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        made_from = self.frame.digest, self.columns, self.lengths, self.fill
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]

    @property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        made = _made(self.frame, self.columns, self.fill, self.lengths[0])
        return made.mean, made.std

    @property
    def fields(self) -> Mapping[str, Field]:
        masks = {"mask": Field((self.horizon, len(self.columns)), "bool")} if self.fill else {}
        return {**super().fields, **masks}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        """`series` [T, C], all rows up to the end of the split; with `fill`, `present` [T, C], too."""
        made, end = _made(self.frame, self.columns, self.fill, self.lengths[0]), self.end(split)
        return {"series": self.scaled(made.values[:end])} | ({"present": made.present[:end]} if self.fill else {})

    def of_file(self, path: Path) -> np.ndarray:
        frame = frame_sources.read(path, self.missing)
        clock.check(frame, self.time, self.columns)
        return _filled(*_values(frame, self.columns, self.fill), self.fill)


class _Made(NamedTuple):
    """A series as it is read: values [T, C], filled; which of them were present; mean and deviation [C]."""

    values: np.ndarray
    present: np.ndarray
    mean: np.ndarray
    std: np.ndarray


@functools.lru_cache(maxsize=8)
def _made(frame: Frame, columns: tuple[str, ...], fill: Fill, train: int) -> _Made:
    """Reads the columns, and keeps them: a function of hyper-parameters is called often."""
    values, present = _values(frame, columns, fill)
    for column, there in zip(columns, present[:train].T, strict=True):
        if not there.any():
            raise UserError(f"column {column!r} of {frame.where} has no value in the {train:,} rows for training")
    known = [column[there] for column, there in zip(values[:train].T, present[:train].T, strict=True)]
    mean, std = (np.array([statistic(column) for column in known]) for statistic in (np.mean, np.std))
    constant = np.array([is_constant(column) for column in known])
    if constant.any():
        names = ", ".join(name for name, same in zip(columns, constant, strict=True) if same)
        warnings.warn(f"{frame.where}: the same in all rows for training, and not scaled: {names}", stacklevel=2)
    return _Made(_filled(values, present, fill), present, mean, np.where(constant, 1.0, std))


def _values(frame: Frame, columns: Sequence[str], fill: Fill) -> tuple[np.ndarray, np.ndarray]:
    """The values of the channels, NaN where missing, and which are present, [T, C] each."""
    for column in columns:
        frame.check(column, "a channel of the series")
    values = np.stack([frame.numbers(column) for column in columns], axis=1)
    present = np.isfinite(values)
    if not fill and not present.all():
        row, column = map(int, np.argwhere(~present)[0])
        raise UserError(
            f"{frame.at(columns[column], row)}: missing ({(~present).sum():,} such values); fill them in, or "
            'give fill="previous"'
        )
    return values, present


def _filled(values: np.ndarray, present: np.ndarray, fill: Fill) -> np.ndarray:
    """The values [T, C] without NaN; a column without any value is 0."""
    filled, rows = np.zeros_like(values), np.arange(len(values))
    for c, there in enumerate(present.T):
        if not there.any():
            continue
        known = np.flatnonzero(there)
        if fill == "linear":
            filled[:, c] = np.interp(rows, known, values[known, c])
        else:
            filled[:, c] = values[known[np.maximum(np.searchsorted(known, rows, side="right") - 1, 0)], c]
    return filled


def _channels(frame: Frame, columns: Sequence[str], time: str) -> tuple[str, ...]:
    """The names of the channels: as told, else all columns of numbers but the time."""
    for column in columns:
        frame.check(column, "named in columns")
    if time:
        frame.check(time, "the time")
    found = tuple(columns) or tuple(name for name in frame.columns if name != time and frame.kind(name) == "number")
    if not found or len(set(found)) < len(found):
        given = f"channels {', '.join(found)}" if found else "no column of numbers"
        raise UserError(f"{frame.where} has {given}; expected columns of numbers, each named once")
    return found


def _named(source: Any) -> Any:
    """An array [T, C] or [T], or a single column of pandas, as columns "0", "1", ...; anything else as it is."""
    if not isinstance(source, np.ndarray | list | tuple) and not hasattr(source, "to_frame"):
        return source
    array = np.asarray(source)
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf" or not array.size:
        raise UserError(f"the series is {array.dtype}{list(array.shape)}, expected numbers [T, C] or [T], C channels")
    return {str(c): column for c, column in enumerate(array.reshape(len(array), math.prod(array.shape[1:])).T)}
