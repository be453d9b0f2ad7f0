"""Synthetic twins of other sets, made up on the spot, for smoke runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet, TextSet
from deeplab.data.sets.fields import Field, num_rows


@dataclasses.dataclass(frozen=True, eq=False)
class SyntheticExamples(ExampleSet):
    """Noise with the fields of another set; a scalar integer is the example's number modulo its bound.

    Args:
      shapes: The fields.
      sizes: Number of examples of each split.
      class_names: Names of the classes.
      like: Set that reads files of your own and describes predictions; a set of the same fields.
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
        return {name: _noise(rng, field, num_rows(self.fields, name, size)) for name, field in self.fields.items()}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        return (super() if self.like is None else self.like).read_file(path, data_dir)

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return (super() if self.like is None else self.like).describe(prediction)


def _noise(rng: np.random.Generator, field: Field, size: int) -> np.ndarray:
    shape, dtype = (size, *field.shape), np.dtype(field.dtype)
    if dtype.kind in "fc":
        noise = rng.standard_normal(shape) if field.below is None else rng.uniform(field.low, field.below, shape)
        return noise.astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    below = int(np.iinfo(dtype).max if field.below is None else field.below)
    if not field.shape:
        return (field.low + np.arange(size) % (below - field.low)).astype(dtype)
    return rng.integers(field.low, below, shape, dtype)


@dataclasses.dataclass(frozen=True)
class SyntheticText(TextSet):
    """Random characters.

    Args:
      sizes: Characters of each split. An alphabet beyond ASCII has more bytes; `Text` then counts the characters.
      characters: The alphabet; lower-case letters, blank and period when None.
    """

    sizes: tuple[tuple[str, int], ...]
    characters: str | None = None
    name: str = "synthetic"
    version: str = "1.0.0"
    citation: str = ""
    cached: ClassVar[bool] = False

    @property
    def splits(self) -> Mapping[str, int]:
        return dict(self.sizes)

    def read(self, split: str, content: Content) -> bytes:
        alphabet = np.array(list(self.characters or "abcdefghijklmnopqrstuvwxyz ."))
        return "".join(np.random.default_rng(0).choice(alphabet, self.splits[split])).encode()
