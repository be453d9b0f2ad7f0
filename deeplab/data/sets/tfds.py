"""Any data set that TFDS has prepared as ArrayRecord, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Source
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare.images import fit_array
from deeplab.data.prepare.originals import Content
from deeplab.data.records import Records
from deeplab.data.sets.base import ExampleSet, check_split
from deeplab.data.sets.fields import Field, check_fits, image_fields

_CHUNK = 256  # records read at a time
_LARGE = 4 * 2**30  # bytes; decoded arrays beyond are not made unless asked for


@dataclasses.dataclass(frozen=True)
class PreparedTfds(ExampleSet):
    """Images of a TFDS directory (the one with `dataset_info.json`), with or without a target.

    Decoded once into arrays, a set gives batches a hundred times faster than its records can be parsed (0.3 ms each).
    Larger sets are read by number from the files as they are.

    Args:
      path: The directory, one above it, or a name such as "cifar10" under `$TFDS_DATA_DIR` (`~/tensorflow_datasets`).
      size: Pixels to which the shorter side is scaled before the center is cropped; needed where sizes vary.
      keep: "arrays" for a decoded copy in the cache, "records" for the files as they are. None takes arrays up to 4 GB.
      rename: Splits by other names, or parts of them: `{"train": "train[:90%]", "validation": "train[90%:]"}`.
      image: Feature that holds the images.
      label: Feature that holds the target: class labels, or numbers of a fixed shape. None reads images alone.
      normalize: Normalization of the images in [0, 1].
      skip_corrupted: Whether corrupted records are left out with a warning, where records are read as they are.

    Raises:
      UserError: no such directory, another file format than ArrayRecord, or no such feature.

    Example:
      >>> import tempfile
      >>> import deeplab as dl
      >>> gray = dl.data.arrays({"train": {"image": np.zeros((5, 4, 4, 3), np.uint8)}})
      >>> folder = dl.data.write(gray, tempfile.mkdtemp())  # doctest: +ELLIPSIS
      Downloading and preparing dataset ... Subsequent calls will reuse this data.
      >>> images = dl.data.tfds(folder, label=None)
      >>> dict(images.splits), images.fields["image"].shape
      ({'train': 5}, (4, 4, 3))
    """

    path: str | Path
    size: int | None = None
    keep: Literal["arrays", "records"] | None = None
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    image: str = "image"
    label: str | None = "label"
    normalize: Normalize | None = CENTERED
    skip_corrupted: bool = False

    @functools.cached_property
    def _tfds(self) -> Any:
        return read_only_builder(self.path, (self.image,) if self.label is None else (self.image, self.label))

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return self._tfds.info.name

    @property
    def citation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._tfds.info.citation

    @functools.cached_property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return fingerprint(self._tfds, self.size, sorted(self.rename.items()), self.image, self.label)

    @functools.cached_property
    def fields(self) -> Mapping[str, Field]:
        feature = self._tfds.info.features[self.image]
        height, width, channels = feature.shape
        if self.size is not None:
            height = width = self.size
        if height is None or width is None:
            raise UserError(f"images of {self.path} vary in size; give dl.data.tfds(..., size=PIXELS)")
        dtype = np.dtype(feature.np_dtype).name
        fields = image_fields((height, width, channels or 3), len(self.class_names), dtype)
        if self.label is not None and not self.class_names:
            fields["label"] = self._target(self._tfds.info.features[self.label])
        return fields

    def _target(self, feature: Any) -> Field:
        dtype = np.dtype(feature.np_dtype)
        if None in feature.shape or dtype.kind not in "biuf":
            raise UserError(f"feature {self.label!r} of {self.path} is {feature!r}, expected classes or numbers")
        return Field(tuple(feature.shape), "float32" if dtype.kind == "f" else "int32" if dtype.kind != "b" else "bool")

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return () if self.label is None else tuple(getattr(self._tfds.info.features[self.label], "names", None) or ())

    @functools.cached_property
    def splits(self) -> Mapping[str, int]:
        splits = self._tfds.info.splits
        return {name: splits[part].num_examples for name, part in ({s: s for s in splits} | dict(self.rename)).items()}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        records, size = self._records(split), self.splits[split]
        arrays = {name: np.empty((size, *field.shape), field.dtype) for name, field in self.fields.items()}
        for start in range(0, size, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, size))
            batch = records.batch(rows)
            for name, array in arrays.items():
                array[rows] = batch[name]
        return arrays

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        check_split(self, split)
        image = self.fields["image"]
        nbytes = self.splits[split] * math.prod(image.shape) * np.dtype(image.dtype).itemsize
        if self.keep == "arrays" or (self.keep is None and nbytes <= _LARGE):
            return super().open(split, data_dir)
        return Source(self.splits[split], records=self._records(split))

    def _records(self, split: str) -> Records:
        part = self.rename.get(split, split)
        fields, num_classes = self.fields, len(self.class_names)

        def parse(example: Mapping[str, Any]) -> dict[str, np.ndarray]:
            parsed = {"image": fit_array(np.asarray(example[self.image]), fields["image"].shape)}
            if self.label is not None:
                label, dtype = np.asarray(example[self.label]), fields["label"].dtype
                if not num_classes:  # those of classes are checked below
                    check_fits(self.label, label, dtype, f"split {split!r} of {self.path}", "give another label=")
                parsed["label"] = label.astype(dtype)
            if num_classes and not 0 <= parsed["label"] < num_classes:
                raise ValueError(f"label {parsed['label']} is outside 0 to {num_classes - 1}")
            return parsed

        instructions = self._tfds.info.splits[part].file_instructions
        files = [(i.filename, i.skip, i.examples_in_shard if i.take == -1 else i.take) for i in instructions]
        return Records(self._tfds.as_data_source(part), files, parse, self.skip_corrupted)


def read_only_builder(path: str | Path, fields: Sequence[str]) -> Any:
    """TFDS' own builder of a directory that is prepared as ArrayRecord and has these features."""
    import tensorflow_datasets as tfds

    directory = _find(path)
    builder = tfds.builder_from_directory(directory)
    file_format = builder.info.file_format
    features: Any = builder.info.features
    if file_format is None or file_format.value != "array_record":
        raise UserError(
            f"{directory} holds {file_format and file_format.value} files, expected array_record; run "
            f"tfds convert_format --dataset_version_dir={directory} --out_file_format=array_record --out_path=DIR"
        )
    for field in fields:
        if field not in features:
            raise UserError(f"{directory} has no feature {field!r}, only {', '.join(features)}")
    return builder


def fingerprint(builder: Any, *how: Any) -> str:
    """TFDS' version, and a digest of the files' sizes and times and of `how` they are read."""
    files = sorted(Path(builder.data_path).iterdir())
    made_from = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"{builder.version}-{hashlib.sha256(repr((made_from, how)).encode()).hexdigest()[:12]}"


def _find(path: str | Path) -> Path:
    """The directory with `dataset_info.json`: the path itself, or the newest version below it."""
    roots = [
        Path(path).expanduser(),
        Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser() / path,
    ]
    for root in roots:
        found = [info.parent for info in root.glob("**/dataset_info.json")] if root.is_dir() else []
        if len(found) == 1 or (found and len({folder.parent for folder in found}) == 1):
            return max(found, key=lambda folder: [int(n) if n.isdecimal() else 0 for n in folder.name.split(".")])
        if found:
            raise UserError(f"{root} holds several sets ({', '.join(map(str, sorted(found)[:4]))}); name one of them")
    raise UserError(
        f"no TFDS set is prepared in {' or '.join(map(str, roots))}; prepare it once, where TensorFlow is installed "
        f"(pip install deeplab[tfds]): tfds build {path} --file_format=array_record"
    )
