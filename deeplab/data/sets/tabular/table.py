"""A table of a user: columns of numbers, categories and dates, and a column to predict from them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from deeplab.core.errors import UserError, nearest
from deeplab.data.prepare import frame_sources
from deeplab.data.prepare.frames import Frame, Kind
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field
from deeplab.data.sets.leaks import digests, equal_examples, shared_groups
from deeplab.data.sets.tabular import columns, splitting
from deeplab.data.sets.tabular.summary import TableSummary


@dataclasses.dataclass(frozen=True)
class Table(ExampleSet):
    """Rows of a table as `numbers` [N], `categories` [C], and `target` (a number) or `label` (a class).

    A column is of numbers, of dates (year, month, weekday, hour), or of categories: text and truth values. Numbers are
    standardized, 0 where they are missing, with a number 1 beside them that says so. Categories are integers, 0 for one
    that the training rows do not hold. All statistics are of the training rows. The target stays in its unit; `scale`
    is its mean and standard deviation.

    The table is read when its sizes are first asked for, and kept as long as the file does not change.

    Args:
      source: Path of a CSV file with names in the first row, or of a Parquet file; or a `Frame`.
      target: Name of the column to predict: classes if it holds text or truth values, else a number.
      classes: Classes in their order; makes classes of a column of numbers.
      categories: Names of columns that are categories, although their cells are numbers.
      dates: Names of columns that are dates.
      ignore: Names of columns that the model does not get.
      missing: Further texts, or numbers, that stand for a missing cell, such as "unknown" or -999.
      split: Name of a column that says "train", "test" and so on for each row.
      group: Name of a column, such as the patient, all of whose rows are in one split.
      time: Name of a column, such as the date, whose latest rows are the test split.
      test: Share of the rows (or groups) in the split "test", in (0, 1).
      validation: Share of the rows (or groups) in the split "validation", in [0, 1).
      fold: Index of the part that is the test split: 0 to 4 hold each row once, where `test` is 0.2.
      seed: Seed of the shuffle before the split.

    Raises:
      UserError: the source cannot be read, a column is missing or mixes numbers with text, the target is constant or
        missing in a row, or a split is empty.

    Example:
      >>> homes = frame_sources.read({"size": [50, 80, 95, 60, 71], "town": list("abbab"), "price": [1, 4, 5, 2, 3]})
      >>> table = Table(homes, "price", test=0.4)
      >>> dict(table.splits), table.features.names, table.features.cardinalities
      ({'train': 3, 'test': 2}, ('size',), (3,))
    """

    source: str | Path | Frame
    target: str
    classes: Sequence[str] = ()
    categories: Sequence[str] = ()
    dates: Sequence[str] = ()
    ignore: Sequence[str] = ()
    missing: Sequence[Any] = ()
    split: str = ""
    group: str = ""
    time: str = ""
    test: float = 0.2
    validation: float = 0.0
    fold: int = 0
    seed: int = 0
    name: str = "table"
    citation: str = ""
    cached: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("classes", "categories", "dates", "ignore", "missing"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise UserError(f"{name} is {given!r}, expected a tuple of names, such as ({given!r},)")
            text = frame_sources.category if name == "classes" else frame_sources.text_of
            object.__setattr__(self, name, tuple(map(text, given)))
        if self.time and (self.split or self.group):
            raise UserError(f"time={self.time!r} is given with another way to split; give one of split, group and time")
        splitting.shares(self.test, self.validation, self.fold)

    @property
    def frame(self) -> Frame:
        """The columns as they were given."""
        return frame_sources.read(self.source, self.missing)

    @property
    def _made(self) -> Made:
        return _made(self, self.frame)

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return self.frame.digest[:16]

    @property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._made.class_names

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(rows) for split, rows in self._made.rows.items()}

    @property
    def features(self) -> columns.Features:
        """The columns that a model reads: `names` of the numbers, and `cardinalities` of the categories."""
        return self._made.features

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the target over the training rows; (0, 1) for classes."""
        return self._made.scale

    @property
    def fields(self) -> Mapping[str, Field]:
        below = max(self.features.cardinalities, default=1)
        classes = Field((), "int32", 0, len(self.class_names))
        return {
            "numbers": Field((len(self.features.names),)),
            "categories": Field((len(self.features.cardinalities),), "int32", 0, below),
            **({"label": classes} if self.class_names else {"target": Field()}),
        }

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        rows = self._made.rows[split]
        return {name: array[rows] for name, array in self._made.arrays.items()}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Each row of a CSV or Parquet file with the columns that the model reads; the target may be absent."""
        frame = frame_sources.read(path, self.missing)
        for column in {c.column: None for group in self.features for c in group}:
            frame.check(column, "one that the model reads")
        arrays = self.features.encoded(frame)
        for i in range(len(frame)):
            yield f"{path.name}:{i + 1}", {name: array[i] for name, array in arrays.items()}

    def summary(self, data_dir: str | Path | None = None) -> TableSummary:
        """What was read, to print: columns, splits, the first rows, and what may be wrong with them."""
        made, frame = self._made, self.frame
        inputs = {
            split: [made.arrays[name][rows] for name in ("numbers", "categories")] for split, rows in made.rows.items()
        }
        notes = [*made.notes, *equal_examples({split: digests(arrays) for split, arrays in inputs.items()}, "row")]
        if self.group:
            values = frame.texts(self.group)
            notes += shared_groups({split: values[rows] for split, rows in made.rows.items()}, self.group)
        kinds = {self.target: "class" if made.class_names else "target", **made.kinds}
        told = {self.split: "the split", self.group: "the group", **dict.fromkeys(self.ignore, "ignored")}
        kinds = {name: kinds.get(name) or told.get(name) or "left out" for name in frame.columns}
        return TableSummary(frame, kinds, dict(self.splits), made.class_names, tuple(notes))


class Made(NamedTuple):
    """A table as it is read.

    Attributes:
      features: The columns that a model reads, with the statistics of the training rows.
      kinds: Kind of each of these columns.
      rows: Rows of each split.
      arrays: The fields of all rows, [N, ...].
      class_names: Names of the classes; empty for a number.
      scale: Mean and standard deviation of the target over the training rows.
      notes: What the user may want to know.
    """

    features: columns.Features
    kinds: Mapping[str, Kind]
    rows: splitting.Rows
    arrays: Mapping[str, np.ndarray]
    class_names: tuple[str, ...]
    scale: tuple[float, float]
    notes: tuple[str, ...]


@functools.lru_cache(maxsize=8)
def _made(table: Table, frame: Frame) -> Made:
    """Reads the columns, and keeps them: a function of hyper-parameters is called often."""
    roles = {table.target: "the target", table.split: "the split", table.group: "the group", table.time: "the time"}
    lists = (("categories", table.categories), ("dates", table.dates), ("ignore", table.ignore))
    for name, what in [*roles.items(), *((name, f"named in {given}") for given, names in lists for name in names)]:
        if name:
            frame.check(name, what)
    values, class_names = _target(table, frame)
    shares = splitting.shares(table.test, table.validation, table.fold)
    strata = values if class_names else np.zeros(len(frame))
    rows = splitting.rows(
        frame, strata, shares, table.fold, table.seed, split=table.split, group=table.group, time=table.time
    )
    unread = {table.target, table.split, table.group, *table.ignore}
    names = [name for name in frame.columns if name not in unread]
    kinds = columns.kinds_of(frame, names, table.categories, table.dates)
    features, constant = columns.fitted(frame, kinds, rows["train"])
    if not features.names and not features.cardinalities:
        raise UserError(f"{frame.where} has no column to predict {table.target!r} from, only constant or ignored ones")
    scale, field = (0.0, 1.0), "label" if class_names else "target"
    if not class_names:
        scale = float(values[rows["train"]].mean()), float(values[rows["train"]].std())
    if len(set(values[rows["train"]].tolist())) < 2:
        raise UserError(f"the target {table.target!r} of {frame.where} is the same in all training rows")
    notes = [f"column {name!r} is the same in all training rows, and left out" for name in constant]
    few = np.unique(values)
    if not class_names and len(few) <= 10 and (few == few.round()).all():
        given = ", ".join(repr(frame_sources.text_of(float(x))) for x in few)
        notes.append(f"the target is a number of {len(few)} values; for classes, give classes=({given})")
    notes += [
        f"column {c.column!r} has {c.size - 1:,} categories in {len(rows['train']):,} training rows; if it is "
        f"a name or a number of the row, give ignore=({c.column!r},)"
        for c in features.categories
        if c.size > max(20, len(rows["train"]) / 4)
    ]
    arrays = features.encoded(frame) | {field: values.astype(np.int32 if class_names else np.float32)}
    return Made(features, kinds, rows, arrays, class_names, scale, tuple(notes))


def _target(table: Table, frame: Frame) -> tuple[np.ndarray, tuple[str, ...]]:
    """The target of each row: a number, or the number of its class; and the classes."""
    name = table.target
    if gone := np.flatnonzero(frame.missing(name)).tolist():
        raise UserError(
            f"{frame.at(name, gone[0])}: the target is missing ({len(gone):,} such rows); remove them, or fill them in"
        )
    if not table.classes and name not in table.categories and frame.kind(name) == "number":
        return frame.numbers(name), ()
    cells = frame.texts(name)
    classes = tuple(table.classes) or tuple(sorted(set(cells.tolist())))
    number = {cell: i for i, cell in enumerate(classes)}
    for i, cell in enumerate(cells):
        if cell not in number:
            raise UserError(f"{frame.at(name, i)}: the class {cell!r}; {nearest(cell, classes)}")
    return np.array([number[cell] for cell in cells], np.int32), classes
