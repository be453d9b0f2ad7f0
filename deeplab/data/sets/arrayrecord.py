"""Data sets written as TFDS directories, which others read with `tfds.builder_from_directory`; without TensorFlow."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data import sets
from deeplab.data.prepare import images, originals
from deeplab.data.sets.base import ExampleSet, TextSet


def write(
    dataset: str | ExampleSet | TextSet,
    directory: str | Path,
    data_dir: str | Path | None = None,
    num_shards: int | None = None,
) -> Path:
    """Writes images (with class labels, where there are any) or running text as a TFDS directory of ArrayRecord files.

    Args:
      dataset: Name of the set, or the set.
      directory: Folder that gets NAME/VERSION/ with the files; a version that is there already is kept.
      data_dir: Folder with the original files; downloaded when None.
      num_shards: Number of files of each split; by its size when None. Many hosts read several files at a time.

    Returns:
      The directory of the version, for `dl.data.tfds` or `dl.data.tfds_text`.

    Raises:
      UserError: the set has fields other than uint8 images and class labels.

    Example:
      >>> import tempfile
      >>> import deeplab as dl
      >>> folder = write("digits", tempfile.mkdtemp())  # doctest: +ELLIPSIS
      Downloading and preparing dataset ... Subsequent calls will reuse this data.
      >>> folder.parent.name, sorted(dl.data.tfds(folder).splits)
      ('digits', ['test', 'train'])
    """
    import tensorflow_datasets as tfds

    builder = tfds_class(dataset, data_dir)(data_dir=str(directory), file_format="array_record")
    with tempfile.TemporaryDirectory() as downloads:  # TFDS wants one, and nothing goes there
        config = tfds.download.DownloadConfig(num_shards=num_shards)
        builder.download_and_prepare(download_dir=downloads, download_config=config)
    return Path(builder.data_path)


def tfds_class(dataset: str | ExampleSet | TextSet, data_dir: str | Path | None = None) -> Any:
    """A subclass of `tfds.core.GeneratorBasedBuilder` for a data set; its records are in the order of the arrays."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    if isinstance(dataset, str):
        dataset = sets.named(dataset)
    content = originals.contents(dataset.name, dataset.files, data_dir)
    features = _features(dataset)

    def info(self: Any) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(type(dataset).__doc__ or "").strip(),
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label") if "label" in features else None,
            citation=dataset.citation,
            disable_shuffling=True,
        )

    version = dataset.version if re.fullmatch(r"\d+\.\d+\.\d+", dataset.version) else "1.0.0"
    members = {
        "name": dataset.name,
        "VERSION": tfds.core.Version(version),
        "_info": info,
        "_split_generators": lambda self, manager: {s: _records(dataset, s, content) for s in dataset.splits},
        "_generate_examples": lambda self, split: _records(dataset, split, content),
        "__module__": __name__,
    }
    with registered.skip_registration():  # TFDS has a "mnist" of its own, which needs TensorFlow
        return type(dataset.name, (tfds.core.GeneratorBasedBuilder,), members)


def _features(dataset: ExampleSet | TextSet) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    if isinstance(dataset, TextSet):
        return {"text": tfds.features.Text()}
    fields = dataset.fields
    if "image" not in fields or fields["image"].dtype != "uint8" or fields.keys() - {"image", "label"}:
        given = ", ".join(f"{name} {field.dtype}" for name, field in fields.items())
        raise UserError(f"{dataset.name} has the fields {given}; only uint8 images with class labels are written")
    image = tfds.features.Image(shape=fields["image"].shape, encoding_format="png")
    return {"image": image} | (
        {"label": tfds.features.ClassLabel(names=dataset.class_names)} if "label" in fields else {}
    )


def _records(
    dataset: ExampleSet | TextSet, split: str, content: originals.Content
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if isinstance(dataset, TextSet):
        yield 0, {"text": dataset.read(split, content)}
        return
    arrays = dataset.read(split, content)
    for number, image in enumerate(arrays["image"]):
        label = {"label": int(np.asarray(arrays["label"][number]))} if "label" in arrays else {}
        # As PNG: TFDS encodes arrays with TensorFlow, and takes bytes without.
        yield number, {"image": images.png(image)} | label
