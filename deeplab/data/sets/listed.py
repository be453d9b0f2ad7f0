"""Sets whose examples are files of the user's, in splits."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from deeplab.data.prepare import frame_sources
from deeplab.data.prepare.frames import Frame
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.listing import Listing
from deeplab.data.sets.tabular import splitting

_FORMAT = 1  # of the prepared copies; raised when the same files are read otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listed(ExampleSet):
    """Examples that are files of the user's, each decoded once. Subclasses give `listing` and `load`.

    Args:
      split: Name of a column that says "train", "test" and so on for each row.
      group: Name of a column, such as the patient, all of whose rows are in one split; for files in folders, a regular
        expression whose first parenthesis is the group in a file's path.
      test: Share of the examples (or groups) in the split "test", in (0, 1).
      validation: Share of the examples (or groups) in the split "validation", in [0, 1).
      fold: Index of the part that is the test split: 0 to 4 hold each example once, where `test` is 0.2.
      seed: Seed of the shuffle before the split.
    """

    split: str = ""
    group: str = ""
    test: float = 0.2
    validation: float = 0.0
    fold: int = 0
    seed: int = 0
    citation: str = ""

    def __post_init__(self) -> None:
        splitting.shares(self.test, self.validation, self.fold)

    @property
    @abc.abstractmethod
    def listing(self) -> Listing:
        """The files, their splits and their targets."""

    @abc.abstractmethod
    def load(self, paths: Sequence[Path]) -> Mapping[str, np.ndarray]:
        """The fields of files that the listing does not tell, [N, ...]."""

    @property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen)
        return self.listing.class_names

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(rows) for split, rows in self.listing.rows.items()}

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        """Digest of the files' names, sizes and times, and of all that is told of them."""
        told = self.listing
        total = hashlib.sha256(repr((_FORMAT, self.class_names, sorted(self.fields.items()))).encode())
        total.update(repr(stats(told.paths)).encode())
        for name, array in sorted({**told.rows, **told.targets}.items()):
            total.update(repr((name, array.tobytes())).encode())
        return total.hexdigest()[:16]

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        told = self.listing
        rows = told.rows[split]
        loaded = self.load([told.paths[row] for row in rows])
        return {**loaded, **{name: array[rows] for name, array in told.targets.items()}}

    def groups(self, split: str) -> Shaped[np.ndarray, " M"] | None:
        given = self.listing.groups
        return None if given is None else given[self.listing.rows[split]]

    def part(self, frame: Frame, strata: Shaped[np.ndarray, " N"], split: str, group: str) -> splitting.Rows:
        """The examples of each split.

        Args:
          frame: Table of the examples.
          strata: Class of each example.
          split: Name of the column of splits; shares are drawn when empty.
          group: Name of the column of groups, or "".
        """
        shares = splitting.shares(self.test, self.validation, self.fold)
        for column, what in ((split, "the split"), (group, "the group")):
            _ = column and frame.check(column, what)
        return splitting.rows(frame, strata, shares, self.fold, self.seed, split=split, group=group)


def table(source: Any, root: str | Path | None) -> tuple[Frame, Path]:
    """The cells of a table as they stand, and the folder that its names are relative to.

    Args:
      source: Path of a CSV or Parquet file, a pandas data frame, a dict of columns, or a `Frame`.
      root: Folder; the one of the file when None.
    """
    frame = frame_sources.read(source, plain=True)
    given = root if root is not None else Path(source).parent if isinstance(source, str | Path) else Path()
    return frame, Path(given).expanduser().resolve()


def stats(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of files, which tell whether they have changed."""
    found = [(str(path), path.stat()) for path in paths]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]
