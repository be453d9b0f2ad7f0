"""What a data set is before anything is read: records that cost nothing to import.

There are two kinds. An `ExampleSet` holds examples made of named arrays (images, waveforms, ratings, windows of a
series), a `TextSet` running text that has no examples until a context length cuts it. Each holds the metadata that
experiments need (sizes, shapes, class names) and one function that reads the original files.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deeplab.core.contract import Contract
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.data.base import Show, Source
from deeplab.data.normalize import Normalize
from deeplab.data.prepare import cache, images, originals
from deeplab.data.prepare.files import Original
from deeplab.data.prepare.originals import Content
from deeplab.data.sets import fields as field_checks
from deeplab.data.sets import summary
from deeplab.data.sets.fields import Field

_BEGINNING = 60  # characters of a text that a summary shows


class ExampleSet(Contract):
    """Examples made of named arrays. Subclasses are frozen records, and final.

    Attributes:
      name: Name of the set, and of the folder of its prepared copy.
      version: Identity of the content: another version is prepared anew. A digest for the user's own files and arrays.
      citation: Reference and address.
      files: Original files; empty for sets that come with a dependency or are the user's own.
      cached: Whether a decoded copy is kept on the disk.
      class_names: Name of each class of `label`, in order; empty for sets without classes.
      normalize: Normalization of the images in [0, 1] by the training images' mean and standard deviation; see
        `deeplab.data.Images`. None for other sets.
      show: Method that draws examples for the report of an experiment that gives no `show`; None for other sets.
      if_empty: What to do about a split without examples, for the message.

    Example:
      >>> import deeplab as dl
      >>> digits = dl.data.sets.example_set("digits")
      >>> isinstance(digits, ExampleSet), digits.splits["test"]
      (True, 360)
    """

    name: str
    version: str
    citation: str
    files: tuple[Original, ...] = ()
    cached: ClassVar[bool] = True
    if_empty: ClassVar[str] = "at least one example is needed"
    class_names: tuple[str, ...] = ()
    normalize: Normalize | None = None
    show: Show | None = None

    @property
    @abc.abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Number of examples of each split, known without reading them."""

    @property
    @abc.abstractmethod
    def fields(self) -> Mapping[str, Field]:
        """The arrays of an example, without `id` and `weight`, which every batch has."""

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        """The arrays of `fields`, each [N, ...] (or a table, see `Field.per`), in an order that never changes.

        A set whose examples are composed of another set's overrides `open` and `fetch` instead.

        Args:
          split: One of `splits`.
          content: Gives the content of an original file by its name.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no arrays of its own")

    def fetch(self, source: Source, ids: Any) -> dict[str, Any]:
        """The fields of the examples `ids`, [B, ...]; pure, and jit-able when `source.arrays` are jax arrays.

        By default, rows of the arrays that are named like the fields. A set whose examples overlap, such as windows of
        one long array, overrides this and `check`.
        """
        if source.records is not None:
            return source.records.batch(ids)
        fields, arrays = self.fields, source.arrays
        batch = {name: array[ids] for name, array in arrays.items() if fields[name].per is None}
        return batch | {name: array[batch[index]] for name, array in arrays.items() if (index := fields[name].per)}

    def check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Raises UserError unless the arrays are what `fetch` needs; called once, when they are read."""
        field_checks.check(self.fields, arrays, self.splits[split], f"split {split!r} of {self.name}")

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        """The split as arrays: read and checked once, then memory-mapped from the cache."""
        check_split(self, split)

        def make() -> dict[str, np.ndarray]:
            arrays = self.read(split, originals.contents(self.name, self.files, data_dir))
            self.check(split, arrays)
            return arrays

        folder = cache.cache_dir() / self.name / self.version / split if self.cached else None
        return Source(self.splits[split], make() if folder is None else cache.arrays(folder, make))

    def groups(self, split: str) -> np.ndarray | None:
        """Group of each example, such as the patient, [N]: what no two splits should share. None if unknown."""
        return None

    def summary(self, data_dir: str | Path | None = None) -> Printable:
        """What the set holds, to print: splits, fields, classes, first examples, and what may be wrong with them.

        All examples are looked at, a few megabytes at a time.
        """
        sources = {split: self.open(split, data_dir) for split, size in self.splits.items() if size}
        groups = {split: found for split in sources if (found := self.groups(split)) is not None}
        return summary.summarize(self.name, self.splits, self.fields, self.class_names, sources, self.fetch, groups)

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Examples of a user's own file for `predict`, each with a name; fields that only training needs may be absent.

        By default one image file, for sets with a field `image`: of any size and mode, as it is seen (see
        `prepare.images.decode`), scaled to fit and cropped at the center.

        Raises:
          UserError: the file cannot be read; the message says what can.
        """
        if "image" not in self.fields:
            raise UserError(f"{path}: predict reads no files of your own for {self.name}")
        yield path.name, {"image": images.load(path, self.fields["image"].shape)}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """One example's predictions in the user's terms: the scalars, with the class by its name.

        A value may be an image, [H, W, 3] uint8: it becomes a file.
        """
        described = {name: np.asarray(value).item() for name, value in prediction.items() if np.ndim(value) == 0}
        if self.class_names and "prediction" in described:
            k = int(described["prediction"])  # a model may have more outputs than there are classes
            described["prediction"] = self.class_names[k] if k < len(self.class_names) else str(k)
        return described


class TextSet(Contract):
    """Running text. Subclasses are frozen records, and final; attributes as for `ExampleSet`, and:

    Attributes:
      characters: Every character that occurs, sorted, where it is known beforehand.

    Example:
      >>> from deeplab.data.sets import text_set
      >>> isinstance(text_set("python_stdlib"), TextSet)
      True
    """

    name: str
    version: str
    citation: str
    files: tuple[Original, ...] = ()
    cached: ClassVar[bool] = True
    if_empty: ClassVar[str] = "at least one example is needed"
    characters: str | None = None

    @property
    @abc.abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Bytes of each split, as `read` gives them; known without preparing the set."""

    @abc.abstractmethod
    def read(self, split: str, content: Content) -> bytes:
        """The text of a split, as it is in the files."""

    def summary(self, data_dir: str | Path | None = None) -> Printable:
        """What the set holds, to print: splits, and the beginning of each."""
        content = originals.contents(self.name, self.files, data_dir)
        rows = []
        for split, size in self.splits.items():
            text = self.read(split, content).decode(errors="replace")
            rows.append((split, f"{size:,} bytes", f"{len(set(text)):,} characters", repr(text[:_BEGINNING])))
        return summary.SetSummary(self.name, self.splits, rows, unit="bytes")


def check_split(dataset: ExampleSet | TextSet, split: str) -> None:
    """Raises UserError unless the split exists and is not empty."""
    splits = dataset.splits
    if split not in splits:
        raise UserError(f"{dataset.name} has no split {split!r}, only {', '.join(splits)}")
    if splits[split] < 1:
        raise UserError(f"split {split!r} of {dataset.name} is empty; {dataset.if_empty}")
