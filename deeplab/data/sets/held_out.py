"""A validation split for sets that have none: cut from the training examples, so that no choice is made on the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data import sets
from deeplab.data.base import Source
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ImageSet, check_split


@dataclasses.dataclass(frozen=True)
class HeldOut(ImageSet):
    """Another set, of whose training examples every k-th, from the first on, is in the split "validation" instead.

    Args:
      dataset: the set, or its name.
      every: k, at least 2.

    Example:
      >>> dict(HeldOut("digits", every=10).splits)
      {'train': 1293, 'validation': 144, 'test': 360}
    """

    dataset: str | ImageSet
    every: int = 10
    cached: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.every < 2:
            raise UserError(f"every is {self.every}, expected at least 2: of every so many one is held out")
        whole = self.whole
        if "validation" in whole.splits:
            raise UserError(f"{whole.name} has a validation split already")
        for name in ("version", "citation", "files", "image_shape", "class_names", "mean", "std"):
            object.__setattr__(self, name, getattr(whole, name))
        object.__setattr__(self, "name", f"{whole.name} with one of {self.every} held out")

    @property
    def whole(self) -> ImageSet:
        """The set that is split."""
        return sets.image_set(self.dataset) if isinstance(self.dataset, str) else self.dataset

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
        return Source(self.splits[split], self._part(split, source.arrays))

    def _of(self, split: str) -> str:
        return "train" if split == "validation" else split

    def _part(self, split: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if split == "validation":
            return {name: array[:: self.every] for name, array in arrays.items()}
        if split == "train":
            return {name: array[np.arange(len(array)) % self.every > 0] for name, array in arrays.items()}
        return dict(arrays)
