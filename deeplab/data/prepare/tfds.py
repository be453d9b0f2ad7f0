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
from deeplab.data.prepare.originals import Content
from deeplab.data.records import Records
from deeplab.data.sets.base import ImageSet, check_split

_CHUNK = 256  # records read at a time
_LARGE = 4 * 2**30  # bytes; decoded arrays beyond are not made unless asked for


@dataclasses.dataclass(frozen=True)
class PreparedTfds(ImageSet):
    """Labelled images of a TFDS directory (the one with `dataset_info.json`), or of a set prepared below TFDS' own.

    Decoded once into arrays, a set gives batches a hundred times faster than its records can be parsed (0.3 ms each).
    Larger ones are read by number from the files as they are.

    Args:
      path: the directory, one above it, or a name such as "cifar10" under `$TFDS_DATA_DIR` (`~/tensorflow_datasets`).
      size: scale the shorter side to this many pixels and crop the centre; needed where sizes vary.
      keep: "arrays" for a decoded copy in the cache, "records" for the files as they are. When None, arrays up to 4 GB.
      rename: splits by other names, or parts of them: `{"train": "train[:90%]", "validation": "train[90%:]"}`.
      image: the field of the images.
      label: the field of the labels.
      mean: per channel, or one for all, of images in [0, 1].
      std: likewise.
      skip_corrupted: leave corrupted records, where they are read as they are, out with a warning instead of stopping.
    """

    path: str | Path
    size: int | None = None
    keep: Literal["arrays", "records"] | None = None
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    image: str = "image"
    label: str = "label"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    skip_corrupted: bool = False

    @functools.cached_property
    def _tfds(self) -> Any:
        return read_only_builder(self.path, (self.image, self.label))

    @property
    def name(self) -> str:
        return self._tfds.info.name

    @property
    def citation(self) -> str:
        return self._tfds.info.citation

    @functools.cached_property
    def version(self) -> str:
        return fingerprint(self._tfds, self.size, sorted(self.rename.items()), self.image, self.label)

    @functools.cached_property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self._tfds.info.features[self.image].shape
        if self.size is not None:
            height = width = self.size
        if height is None or width is None:
            raise UserError(f"images of {self.path} vary in size; give dl.data.tfds(..., size=PIXELS)")
        return height, width, channels or 3

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        label = self._tfds.info.features[self.label]
        if not hasattr(label, "names"):
            raise UserError(f"field {self.label!r} of {self.path} is {label!r}, expected class labels")
        return tuple(label.names)

    @functools.cached_property
    def splits(self) -> Mapping[str, int]:
        splits = self._tfds.info.splits
        return {name: splits[part].num_examples for name, part in ({s: s for s in splits} | dict(self.rename)).items()}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        records, size = self._records(split), self.splits[split]
        image, label = np.empty((size, *self.image_shape), self._dtype), np.empty(size, np.int32)
        for start in range(0, size, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, size))
            batch = records.batch(rows)
            image[rows], label[rows] = batch["image"], batch["label"]
        return {"image": image, "label": label}

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        check_split(self, split)
        nbytes = self.splits[split] * math.prod(self.image_shape) * self._dtype.itemsize
        if self.keep == "arrays" or (self.keep is None and nbytes <= _LARGE):
            return super().open(split, data_dir)
        return Source(self.splits[split], records=self._records(split))

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self._tfds.info.features[self.image].np_dtype)

    def _records(self, split: str) -> Records:
        part = self.rename.get(split, split)
        shape, num_classes = self.image_shape, len(self.class_names)

        def parse(example: Mapping[str, Any]) -> dict[str, np.ndarray]:
            image, label = np.asarray(example[self.image]), int(example[self.label])
            if not 0 <= label < num_classes:
                raise ValueError(f"label {label} is outside 0 to {num_classes - 1}")
            return {"image": _fit(image, shape), "label": np.asarray(label, np.int32)}

        instructions = self._tfds.info.splits[part].file_instructions
        files = [(i.filename, i.skip, i.examples_in_shard if i.take == -1 else i.take) for i in instructions]
        return Records(self._tfds.as_data_source(part), files, parse, self.skip_corrupted)


def _fit(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Scales and crops an image to [H, W, C] where it is not of that shape."""
    if image.shape == shape:
        return image
    from PIL import Image

    from deeplab.data.sets.image.folder import fit

    return fit(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image), shape)


def read_only_builder(path: str | Path, fields: Sequence[str]) -> Any:
    """TFDS' own builder of a directory that is prepared as ArrayRecord and has these fields."""
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
            raise UserError(f"{directory} has no field {field!r}, only {', '.join(features)}")
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
