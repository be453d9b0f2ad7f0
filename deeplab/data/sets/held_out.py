"""A validation split for sets that have none: cut from the training examples, so that no choice is made on the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data import sets
from deeplab.data.base import Source
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet, check_split
from deeplab.data.sets.fields import Field


@dataclasses.dataclass(frozen=True)
class HeldOut(ExampleSet):
    """Another set, with every k-th training example, from the first on, in the split "validation" instead.

    Args:
      dataset: The set, or its name. Its examples are rows of arrays.
      every: Spacing k of the held-out examples, at least 2.

    Raises:
      UserError: `every` is below 2, or the set has a validation split already.

    Example:
      >>> dict(HeldOut("digits", every=10).splits)
      {'train': 1293, 'validation': 144, 'test': 360}
    """

    dataset: str | ExampleSet
    every: int = 10
    cached: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.every < 2:
            raise UserError(f"every is {self.every}, expected at least 2: one example in so many is held out")
        whole = self.whole
        if "validation" in whole.splits:
            raise UserError(f"{whole.name} has a validation split already")
        for name in ("citation", "files", "class_names", "normalize", "show"):
            object.__setattr__(self, name, getattr(whole, name))
        object.__setattr__(self, "name", f"{whole.name} with one of {self.every} held out")

    @property
    def whole(self) -> ExampleSet:
        """The set that is split."""
        return sets.example_set(self.dataset)

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return self.whole.version

    @property
    def fields(self) -> Mapping[str, Field]:
        return self.whole.fields

    @property
    def splits(self) -> Mapping[str, int]:
        splits = dict(self.whole.splits)
        total = splits.pop("train")
        held = -(-total // self.every)
        return {"train": total - held, "validation": held, **splits}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        check_split(self, split)
        return self._part(split, self.whole.read(self._of(split), content))

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        check_split(self, split)
        source = self.whole.open(self._of(split), data_dir)
        if source.records is not None:
            raise UserError(f"{self.name}: the set is read record by record; only sets of arrays can be split")
        if source.arrays.keys() != self.fields.keys():
            raise UserError(f"{self.name}: the set's examples are cut from other arrays, and cannot be split so")
        return Source(self.splits[split], self._part(split, source.arrays))

    def fetch(self, source: Source, ids: Any) -> dict[str, Any]:
        return self.whole.fetch(source, ids)

    def groups(self, split: str) -> np.ndarray | None:
        given = self.whole.groups(self._of(split))
        return None if given is None else given[self._rows(split)]

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        return self.whole.read_file(path, data_dir)

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self.whole.describe(prediction)

    def _of(self, split: str) -> str:
        return "train" if split == "validation" else split

    def _part(self, split: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows of a split; a table (see `Field.per`) stays whole."""
        rows = self._rows(split)
        return {name: array if self.fields[name].per else array[rows] for name, array in arrays.items()}

    def _rows(self, split: str) -> Any:
        if split == "validation":
            return slice(None, None, self.every)
        return np.arange(self.whole.splits["train"]) % self.every > 0 if split == "train" else slice(None)
