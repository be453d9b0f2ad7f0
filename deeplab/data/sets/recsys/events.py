"""A user's own table of events: who, what, and how much or when."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.errors import UserError, nearest
from deeplab.data.prepare import frame_sources
from deeplab.data.prepare.frames import Frame, ordered, text_of
from deeplab.data.sets.base import ExampleSet

_FORMAT = 1  # of the prepared copies; raised when the same files are read otherwise


class Events(NamedTuple):
    """Events in the order of users, and of time (or else of the rows) within a user.

    Attributes:
      users: Name of each user by number, sorted; number 0 is a user outside the set.
      items: Name of each item by number, sorted; number 0 is padding.
      user: Number of the user of each event, [N].
      item: Number of the item, [N].
      value: Its value, [N] float64; all 1 where there is no such column.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: np.ndarray
    item: np.ndarray
    value: np.ndarray

    def of_users(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of events, [N], as one array for each user, from number 1 on."""
        return np.split(values, np.searchsorted(self.user, np.arange(2, len(self.users))))


class OwnEvents(ExampleSet):
    """What the sets of a user's events have in common.

    Attributes:
      source: Path of a CSV, TSV or Parquet file, or a `Frame`.
      user: Name of the column of the users; names and numbers alike.
      item: Name of the column of the items.
      value: Name of the column of the values, or "".
      time: Name of the column of the times, or "".
      missing: Further texts, or numbers, that stand for a missing cell.
    """

    source: Any
    user: str
    item: str
    value: str
    time: str
    missing: Sequence[Any]

    def normalize_source(self) -> None:
        """Turns a data frame or a dict of columns into a `Frame`; for `__post_init__`."""
        if isinstance(self.missing, str):
            raise UserError(f"missing is {self.missing!r}, expected a tuple of texts, such as ({self.missing!r},)")
        object.__setattr__(self, "missing", tuple(map(text_of, self.missing)))
        if not isinstance(self.source, str | Path | Frame):
            object.__setattr__(self, "source", self._frame_of(self.source))

    @property
    def events(self) -> Events:
        """All events."""
        return _events(self._frame_of(self.source), self.user, self.item, self.value, self.time)

    @property
    def items(self) -> tuple[str, ...]:
        """Names of the items by number; number 0 is padding."""
        return self.events.items

    @property
    def num_items(self) -> int:
        """Number of items, with number 0."""
        return len(self.events.items)

    @property
    def num_users(self) -> int:
        """Number of users, with number 0, a user outside the set."""
        return len(self.events.users)

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        fields: Any = self  # every set of events is a dataclass
        own = [getattr(self, field.name) for field in dataclasses.fields(fields) if field.name != "source"]
        digest = self._frame_of(self.source).digest
        return hashlib.sha256(repr((_FORMAT, digest, own)).encode()).hexdigest()[:16]

    def histories(self, path: Path) -> dict[str, list[tuple[int, float]]]:
        """The (item, value) of each event of a user's file: one history, or one for each user where it has the column.

        An item that is not in the catalogue is left out, with a warning that names the nearest.

        Raises:
          UserError: the file is no table, or has no column of items (or values, where the set has them).
        """
        frame = self._frame_of(path)
        user = self.user if self.user in frame.columns else ""
        time = self.time if self.time in frame.columns else ""
        found = _events(frame, user, self.item, self.value, time)
        number = {name: k for k, name in enumerate(self.items)}
        if unknown := [name for name in found.items if name not in number]:
            warnings.warn(
                f"{path}: {len(unknown):,} items are none of the set's, and are left out, such as {unknown[0]!r}; "
                f"{nearest(unknown[0], self.items[1:])}",
                stacklevel=2,
            )
        rows = zip(found.user, found.item, found.value, strict=True)
        made: dict[str, list[tuple[int, float]]] = {name: [] for name in found.users[1:]}
        for of, item, value in rows:
            if (known := number.get(found.items[item], 0)) > 0:
                made[found.users[of]].append((known, float(value)))
        return {f"{path.name}:{name}" if user else path.name: history for name, history in made.items()}

    def _frame_of(self, source: Any) -> Frame:
        return frame_sources.read(source, self.missing, plain=True)


@functools.lru_cache(maxsize=8)
def _events(frame: Frame, user: str, item: str, value: str, time: str) -> Events:
    """Reads the columns, and keeps them: a function of hyper-parameters is called often. Without `user`, one is all."""
    for name, what in ((user, "the user"), (item, "the item"), (value, "the value"), (time, "the time")):
        if name and frame.missing(frame.check(name, what)).any():
            row = int(np.flatnonzero(frame.missing(name))[0])
            raise UserError(f"{frame.at(name, row)}: empty, and is {what} of an event; remove the row, or fill it in")
    users, of = _numbered(frame.texts(user)) if user else (("", ""), np.ones(len(frame), np.int64))
    items, what = _numbered(frame.texts(item))
    values = frame.numbers(value) if value else np.ones(len(frame))
    when = np.arange(len(frame))
    if time:
        kind = frame.kind(time)
        if kind == "category":
            raise UserError(f"column {time!r} of {frame.where} is the time, expected numbers or dates as 2024-12-31")
        when = frame.numbers(time) if kind == "number" else frame.dates(time)
    order = np.lexsort((np.arange(len(frame)), when, of))
    return Events(users, items, of[order], what[order], values[order])


def _numbered(cells: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The names by number, from 1 on, sorted, as numbers if all are; and the number of each cell.

    Example:
      >>> names, numbers = _numbered(np.array(["10", "9", "10"], object))
      >>> names, numbers.tolist()
      (('', '9', '10'), [2, 1, 2])
    """
    names = ordered(map(str, cells))
    number = {name: k for k, name in enumerate(names, start=1)}
    return ("", *names), np.array([number[str(cell)] for cell in cells])
