"""Sets of examples of any kind: named arrays, each with a leading axis of examples."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Source
from deeplab.data.prepare import originals
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import Original, open_arrays


class Field(NamedTuple):
    """One array of an example.

    Attributes:
      shape: of one example.
      dtype: NumPy's name.
      low: the least value of an integer.
      below: integers are less than this: a label or an index that is not gives a silent NaN on the device.
      per: kept once for each value of this index field, not once an example: a user's history beside the user's
        number. The array of a split is then a table, [its `below`, *shape], and an example holds its row.
    """

    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    low: int = 0
    below: int | None = None
    per: str | None = None


def num_rows(fields: Mapping[str, Field], name: str, size: int) -> int:
    """Rows of a field's array in a split of `size` examples; of a table, its index's bound.

    Example:
      >>> fields = {"user": Field((), "int32", below=944), "age": Field((), per="user")}
      >>> num_rows(fields, "user", 80_000), num_rows(fields, "age", 80_000)
      (80000, 944)
    """
    index = fields[name].per
    return size if index is None else int(fields[index].below or 0)


class ExampleSet(abc.ABC):
    """Examples of any kind. Subclasses are frozen records; the attributes are those of `ImageSet`, and:

    Attributes:
      class_names: where `label` is one of a few classes.
    """

    name: str
    version: str
    citation: str
    files: tuple[Original, ...] = ()
    cached: ClassVar[bool] = True
    class_names: tuple[str, ...] = ()

    @property
    @abc.abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Examples of each split, known without reading them."""

    @property
    @abc.abstractmethod
    def fields(self) -> Mapping[str, Field]:
        """What an example is made of; neither `id` nor `weight`, which every batch has."""

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        """The arrays that `fetch` cuts examples from, in an order that never changes.

        Those of `fields`, each [N, ...] (or a table, see `Field.per`). A set whose examples are composed of another
        one's overrides `open` and `fetch` instead.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no arrays of its own")

    def fetch(self, source: Source, ids: Any) -> dict[str, Any]:
        """The fields of the examples `ids`, [B, ...]; pure, and jit-able when `source.arrays` are jax arrays.

        Rows of arrays that are named like the fields; a set whose examples overlap, such as windows of one long array,
        overrides this and `check`.
        """
        fields, arrays = self.fields, source.arrays
        batch = {name: array[ids] for name, array in arrays.items() if fields[name].per is None}
        return batch | {name: array[batch[index]] for name, array in arrays.items() if (index := fields[name].per)}

    def check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Raises UserError unless the arrays are what `fetch` needs; called once, when they are read."""
        check_examples(self, split, arrays)

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        """The split as arrays: memory-mapped, decoded once and kept in the cache."""

        def make() -> dict[str, np.ndarray]:
            arrays = self.read(split, originals.contents(self.name, self.files, data_dir))
            self.check(split, arrays)
            return arrays

        return open_arrays(self, split, make)

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Examples of a user's own file for `predict`, each with a name; fields that only training needs may be absent.

        Raises:
          UserError: the file is not what can be read; the message says what is.
        """
        raise UserError(f"{path}: predict reads no files of one's own for {self.name}")

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """What is told of one example's predictions, in the user's terms.

        A value may be an image, [H, W, 3] uint8: it becomes a file.
        """
        return describe(prediction, self.class_names)

    def synthetic(self, sizes: Mapping[str, int]) -> ExampleSet:
        """A stand-in with the same fields, made up on the spot."""
        return SyntheticExamples(dict(self.fields), tuple(sizes.items()), self.class_names, like=self)


@dataclasses.dataclass(frozen=True, eq=False)
class SyntheticExamples(ExampleSet):
    """Noise in the shape of another set; labels are the example's number modulo their bound.

    Files of one's own are read, and predictions told, as by the set that it is `like`.
    """

    shapes: Mapping[str, Field]
    sizes: tuple[tuple[str, int], ...]
    class_names: tuple[str, ...] = ()
    like: ExampleSet | None = None
    name: str = "synthetic"
    version: str = "1.0.0"
    citation: str = ""
    cached: ClassVar[bool] = False

    @property
    def splits(self) -> Mapping[str, int]:
        return dict(self.sizes)

    @property
    def fields(self) -> Mapping[str, Field]:
        return self.shapes

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        size = self.splits[split]
        rng = np.random.default_rng(size)
        return {name: _made_up(rng, field, num_rows(self.fields, name, size)) for name, field in self.fields.items()}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        return (super() if self.like is None else self.like).read_file(path, data_dir)

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return (super() if self.like is None else self.like).describe(prediction)


def _made_up(rng: np.random.Generator, field: Field, size: int) -> np.ndarray:
    shape, dtype = (size, *field.shape), np.dtype(field.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    below = int(np.iinfo(dtype).max if field.below is None else field.below)
    if not field.shape:
        return (field.low + np.arange(size) % (below - field.low)).astype(dtype)
    return rng.integers(field.low, below, shape, dtype)


def describe(prediction: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> dict[str, Any]:
    """The scalars of a prediction, the class by its name.

    Example:
      >>> describe({"prediction": np.int32(1), "probability": np.float32(0.5)}, ("cat", "dog"))
      {'prediction': 'dog', 'probability': 0.5}
    """
    told = {name: np.asarray(value).item() for name, value in prediction.items() if np.ndim(value) == 0}
    if class_names and "prediction" in told:
        told["prediction"] = class_names[int(told["prediction"])]
    return told


def check_examples(dataset: ExampleSet, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises UserError unless the arrays are what `fields` says; integers are looked at here, once, on the host."""
    where, size = f"split {split!r} of {dataset.name}", dataset.splits[split]
    if arrays.keys() != dataset.fields.keys():
        raise UserError(f"{where} was read as {sorted(arrays)}, expected {sorted(dataset.fields)}")
    for name, field in dataset.fields.items():
        array, rows = arrays[name], num_rows(dataset.fields, name, size)
        if array.shape != (rows, *field.shape) or array.dtype != np.dtype(field.dtype):
            given, expected = f"{array.dtype}{list(array.shape)}", f"{field.dtype}{[rows, *field.shape]}"
            raise UserError(f"{name!r} of {where} is {given}, expected {expected}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array.reshape(rows, -1)).all(axis=1))
            raise UserError(f"{name!r} of example {bad[0]} in {where} is not finite ({len(bad)} such examples)")
        if array.dtype.kind in "iu" and (field.below is not None or field.low):
            wrong = (array < field.low) | (array >= field.below if field.below is not None else False)
            if wrong.any():
                number = int(np.argwhere(wrong)[0][0])
                raise UserError(
                    f"{name!r} of example {number} in {where} is {array[wrong].flat[0]}, expected {field.low} to "
                    f"{field.below - 1 if field.below is not None else 'any'} ({int(wrong.sum())} such values)"
                )
