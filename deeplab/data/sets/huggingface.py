"""Sets of the Hugging Face hub, or folders of Parquet files in its layout: images, classes and numbers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare import folders, hub_tables, images
from deeplab.data.prepare.frames import objects
from deeplab.data.prepare.hub_tables import HubTable, Kind
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet, check_split
from deeplab.data.sets.fields import Field, check_fits, check_size

_FORMAT = 2  # of the prepared copies; raised when the same files are read otherwise
_DTYPES: Mapping[Kind, str] = {"integer": "int32", "number": "float32", "truth": "bool"}


@dataclasses.dataclass(frozen=True)
class HuggingFace(ExampleSet):
    """Rows of a set of the hub (`"ylecun/mnist"`, by the extra `huggingface`), or of a folder of its Parquet files.

    The only column of images is the field `image`, the only one of classes `label`; further numbers keep their names.
    Columns of text are no fields: `columns("train", "text")` gives them. Splits have the names of the set; "val" and
    "valid" are called "validation".

    Args:
      path: Folder, such as a copy of the set's repository, or name on the hub.
      config: Name of the subset, where there are several.
      image: Name of the column of images, where there are several.
      label: Name of the column of classes, where there are several; one of text, too.
      target: Name of a column of numbers to predict, instead of classes.
      size: Height and width in pixels, or both; needed where the images vary in size.
      channels: 3 for color, 1 for gray; those of the first image when None.
      revision: Commit, tag or branch on the hub; the newest when empty.
      normalize: Normalization of the images in [0, 1].
      ignore: Names of columns that are no fields.

    Raises:
      UserError: there is no such folder or set, the extra is missing, a column is not of the kind that is asked for, or
        has integers beyond int32, a cell is missing, or images vary in size.

    Example:
      >>> import tempfile
      >>> import pyarrow, pyarrow.parquet
      >>> table = pyarrow.table({"age": [31.0, 45.0, 62.0], "outcome": ["well", "ill", "well"]})
      >>> folder = tempfile.mkdtemp()
      >>> pyarrow.parquet.write_table(table, folder + "/train.parquet")
      >>> patients = HuggingFace(folder, label="outcome")
      >>> dict(patients.splits), patients.class_names, [*patients.fields]
      ({'train': 3}, ('ill', 'well'), ['label', 'age'])
    """

    path: str | Path
    config: str = ""
    image: str = ""
    label: str = ""
    target: str = ""
    size: int | tuple[int, int] | None = None
    channels: int | None = None
    revision: str = ""
    normalize: Normalize | None = CENTERED
    ignore: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.ignore, str):
            raise UserError(f"ignore is {self.ignore!r}, expected a tuple of names, such as ({self.ignore!r},)")
        object.__setattr__(self, "ignore", tuple(self.ignore))
        if self.label and self.target:
            raise UserError(f"label={self.label!r} and target={self.target!r}, expected a class or a number to predict")

    @functools.cached_property
    def table(self) -> HubTable:
        """The table itself: its columns and sizes."""
        return hub_tables.open_table(self.path, self.config, self.revision)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return "huggingface"

    @property
    def citation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.table.citation

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        made_from = (_FORMAT, self.table.identity, self._roles, sorted(self.fields.items()))
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]

    @property
    def splits(self) -> Mapping[str, int]:
        return self.table.sizes

    @functools.cached_property
    def _roles(self) -> dict[str, str]:
        """The column of each field."""
        table = self.table
        for name in self.ignore:
            table.column(name)
        roles = {"image": self._only("image", self.image), "label": self._only("class", self.label)}
        plain = None if "label" in self.ignore else table.columns.get("label")
        if not roles["label"] and plain is not None and plain.kind in ("integer", "truth"):
            roles["label"] = "label"
        if self.target:
            if (kind := table.column(self.target)).kind not in _DTYPES:
                raise UserError(f"column {self.target!r} of {table.where} is {kind.told}, expected numbers")
            roles |= {"target": self.target, "label": ""}
        found = {field: column for field, column in roles.items() if column}
        taken = {*found.values(), "image", "label", "target", "id", "weight", *self.ignore}
        found |= {
            name: name for name, c in table.columns.items() if c.kind in (*_DTYPES, "class") and name not in taken
        }
        if not found.keys() - {"label", "target"}:
            told = ", ".join(f"{name} ({column.told})" for name, column in table.columns.items())
            raise UserError(
                f"{table.where} has no column of images or numbers, only {told}; columns('train') gives texts"
            )
        read = {*found.values(), *self.ignore}
        other = [name for name, c in table.columns.items() if c.kind in ("other", "image") and name not in read]
        folders.tell(
            table.where,
            "columns are of kinds that are not read, and are left out",
            [f"{name} ({table.columns[name].told})" for name in other],
        )
        return found

    def _only(self, kind: Kind, given: str) -> str:
        """The column of a kind: the given one, or the only one; "" where there is none."""
        table = self.table
        if given:
            wanted = ("class", "integer", "text", "truth") if kind == "class" else (kind,)
            if (column := table.column(given)).kind not in wanted:
                raise UserError(f"column {given!r} of {table.where} is {column.told}, expected {' or '.join(wanted)}")
            return given
        found = [name for name, column in table.columns.items() if column.kind == kind and name not in self.ignore]
        if len(found) > 1 and not (kind == "class" and self.target):
            argument = "image" if kind == "image" else "label"
            raise UserError(
                f"{table.where} has the columns {', '.join(found)} of this kind; give {argument}=, one of them"
            )
        return found[0] if len(found) == 1 else ""

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names of the classes: those of the set, else the texts or numbers that occur."""
        if not (column := self._roles.get("label")):
            return ()
        if names := self.table.columns[column].names:
            return names
        cells = [cell for split in self.splits for part in self.table.read(split, [column]) for cell in part[column]]
        if self.table.columns[column].kind == "text":
            return tuple(sorted(set(cells)))
        return tuple(map(str, range(int(max(cells)) + 1)))

    @functools.cached_property
    def fields(self) -> Mapping[str, Field]:
        found = {}
        for field, column in self._roles.items():
            if field == "image":
                found[field] = Field(self._shape(column), "uint8", 0, 256)
            elif field == "label":
                found[field] = Field((), "int32", 0, len(self.class_names))
            elif field == "target":
                found[field] = Field()
            else:
                kind = self.table.columns[column]
                classes = Field((), "int32", 0, len(kind.names) or None)
                found[field] = classes if kind.kind == "class" else Field((), _DTYPES[kind.kind])
        return found

    def _shape(self, column: str) -> tuple[int, int, int]:
        """Shape of an image: as given, else that of the first."""
        if self.size is not None and self.channels is not None:
            return (*check_size(self.size, self.channels), self.channels)
        split = "train" if "train" in self.splits else next(iter(self.splits))
        content = self._content(next(self.table.read(split, [column]))[column][0], split, 0)
        values = images.stored(content, f"{self.table.where}, split {split!r}, row 0")
        size = values.shape[:2] if self.size is None else check_size(self.size, 3)
        return size[0], size[1], self.channels or (1 if values.ndim == 2 else 3)

    def _content(self, cell: Mapping[str, Any], split: str, row: int) -> bytes:
        if not cell.get("bytes"):
            raise UserError(
                f"{self.table.where}, split {split!r}, row {row}: the image is not in the table, only its path "
                f"{cell.get('path')!r}; use dl.data.image_table"
            )
        return cell["bytes"]

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        size, roles = self.splits[split], self._roles
        arrays = {name: np.empty((size, *field.shape), field.dtype) for name, field in self.fields.items()}
        number = {name: k for k, name in enumerate(self.class_names)}
        start = 0
        for part in self.table.read(split, [*roles.values()]):
            count = len(next(iter(part.values())))
            rows = slice(start, start + count)
            for field, column in roles.items():
                cells = part[column]
                if field == "image":
                    for i, cell in enumerate(cells):
                        arrays[field][start + i] = self._image(cell, split, start + i)
                elif self.table.columns[column].kind == "text":
                    arrays[field][rows] = [number[cell] for cell in cells]
                else:
                    where, dtype = f"{self.table.where}, split {split!r}", self.fields[field].dtype
                    check_fits(column, cells, dtype, where, f"leave it out: ignore=({column!r},)")
                    arrays[field][rows] = cells
            start += count
        return arrays

    def _image(self, cell: Mapping[str, Any], split: str, row: int) -> np.ndarray:
        where, shape = f"{self.table.where}, split {split!r}, row {row}", self.fields["image"].shape
        image = images.decode(self._content(cell, split, row), where, shape[-1])
        if self.size is None and (image.height, image.width) != shape[:2]:
            raise UserError(
                f"{where} is an image of {image.height} x {image.width} pixels, and the first has {shape[0]} x "
                f"{shape[1]}; give size=, to which all are scaled"
            )
        return images.fit(image, shape)

    def columns(self, split: str, *names: str) -> dict[str, np.ndarray]:
        """Columns as they are, [N] each: texts (objects), numbers, classes as integers.

        Args:
          split: One of `splits`.
          *names: Names of the columns; those of text and numbers when none is given.
        """
        check_split(self, split)
        table = self.table
        chosen = names or [name for name, column in table.columns.items() if column.kind not in ("image", "other")]
        for name in chosen:
            table.column(name)
        parts = [*table.read(split, chosen)]
        return {
            name: objects([cell for part in parts for cell in part[name]])
            if isinstance(parts[0][name], list)
            else np.concatenate([part[name] for part in parts])
            for name in chosen
        }
