"""A user's own images, named by a table with a label, several labels, or a number."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare import images
from deeplab.data.prepare.frames import Frame
from deeplab.data.sets import listed, listing
from deeplab.data.sets.fields import Field, check_size, image_fields
from deeplab.data.sets.listed import Listed
from deeplab.data.sets.listing import Listing


@dataclasses.dataclass(frozen=True)
class ImageTable(Listed):
    """Images that a table names: with `label` (a class), `labels` (several each), or `target` (a number).

    Batches hold `image`, and `label` [B] int32, `label` [B, K] bool for a `MultiLabel`, or `target` [B] for a
    `Regression(scale=images.scale, fields=("image",))`. The classes have equal shares in every split, and the examples
    of a group are in one. An image is read as `image_folder` reads it: upright, on white, scaled so that its shorter
    side fits, and cropped at the center. A name may lack its suffix. Cells are read as they stand.

    Args:
      source: Path of a CSV file with names in the first row, or of a Parquet file; or a data frame, or a dict of
        columns.
      image: Name of the column with the names of the image files.
      label: Name of the column with the class.
      labels: Names of columns of 0 and 1; or the name of one column of texts such as "cat;dog".
      target: Name of the column with a number to predict.
      classes: Names of the classes or labels in their order; sorted when empty.
      separator: Text between the labels of a cell.
      root: Folder that the names are relative to; the table's own when None.
      size: Height and width in pixels, or both.
      channels: 3 for color, 1 for gray.
      normalize: Normalization of the images in [0, 1].

    Raises:
      UserError: the table cannot be read, a column is missing, images are missing or cannot be decoded, a cell is not
        what its column holds, or a split is empty.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> folder = Path(tempfile.mkdtemp())
      >>> for i in range(10):
      ...     Image.new("RGB", (40, 30)).save(folder / f"{i}.png")
      >>> rows = {"file": [f"{i}.png" for i in range(10)], "class": ["cat", "dog"] * 5, "age": range(10)}
      >>> cats = ImageTable(rows, image="file", label="class", root=folder, size=16)
      >>> dict(cats.splits), cats.class_names, cats.fields["image"].shape
      ({'train': 8, 'test': 2}, ('cat', 'dog'), (16, 16, 3))
      >>> ImageTable(rows, image="file", target="age", root=folder, test=0.5).open("test").arrays["target"].shape
      (5,)
    """

    source: Any
    image: str = "image"
    label: str = ""
    labels: str | Sequence[str] = ()
    target: str = ""
    classes: Sequence[str] = ()
    separator: str = ";"
    root: str | Path | None = None
    size: int | tuple[int, int] = 64
    channels: int = 3
    normalize: Normalize | None = CENTERED
    name: str = "image_table"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.size, self.channels)
        if sum(map(bool, (self.label, self.labels, self.target))) != 1:
            raise UserError(
                f"image_table was given label={self.label!r}, labels={self.labels!r} and target={self.target!r}, "
                "expected one of them: a class, several labels, or a number"
            )
        if not isinstance(self.labels, str):
            object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        if not isinstance(self.source, str | Path):
            object.__setattr__(self, "source", self._table[0])

    @functools.cached_property
    def _table(self) -> tuple[Frame, Path]:
        return listed.table(self.source, self.root)

    @functools.cached_property
    def listing(self) -> Listing:
        frame, root = self._table
        field, values, names, strata = self._target(frame)
        rows = self.part(frame, strata, self.split, self.group)
        groups = frame.texts(self.group) if self.group else None
        scale = (0.0, 1.0)
        if self.target:
            scale = float(values[rows["train"]].mean()), float(values[rows["train"]].std())
            if not scale[1]:
                raise UserError(f"the target {self.target!r} of {frame.where} is the same in all training rows")
        found = listing.paths(frame, self.image, root, images.SUFFIXES)
        return Listing(frame.where, found, rows, {field: values}, names, groups, scale)

    def _target(self, frame: Frame) -> tuple[str, np.ndarray, tuple[str, ...], np.ndarray]:
        """The name of the field, its values, the names of the classes, and the stratum of each row."""
        if self.target:
            return "target", listing.number(frame, self.target), (), np.zeros(len(frame))
        if self.label:
            values, names = listing.classes(frame, self.label, self.classes)
            return "label", values, names, values
        if isinstance(self.labels, str):
            values, names = listing.separated(frame, self.labels, self.separator, self.classes)
        else:
            values, names = listing.several(frame, self.labels), self.classes or self.labels
        if len(names) != values.shape[1]:
            raise UserError(f"classes has {len(names)} names for the {values.shape[1]} labels of {frame.where}")
        return "label", values, tuple(names), np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)

    @property
    def fields(self) -> Mapping[str, Field]:
        shape = (*check_size(self.size, self.channels), self.channels)
        if self.label:
            return image_fields(shape, len(self.class_names))
        target = {"label": Field((len(self.class_names),), "bool")} if self.labels else {"target": Field()}
        return image_fields(shape) | target

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of `target` over the training images: an argument of `Regression`."""
        return self.listing.scale

    def load(self, paths: Sequence[Path]) -> Mapping[str, np.ndarray]:
        return {"image": images.load_all(paths, self.fields["image"].shape)}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """One example's predictions in the user's terms; of several labels their names, and the probability of each."""
        if not self.labels or "probability" not in prediction:
            return super().describe(prediction)
        present, p = prediction["prediction"], prediction["probability"]
        told = [name for name, there in zip(self.class_names, present, strict=True) if there]
        return {"labels": ", ".join(told) or "none"} | {
            name: float(value) for name, value in zip(self.class_names, p, strict=True)
        }
