"""Our sets as TFDS builders: what others read with `tfds.builder_from_directory`, written without TensorFlow."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.data import sets
from deeplab.data.prepare import originals
from deeplab.data.sets.base import ImageSet, TextSet


def write(
    dataset: str | ImageSet | TextSet,
    directory: str | Path,
    data_dir: str | Path | None = None,
    num_shards: int | None = None,
) -> Path:
    """Writes a data set as a TFDS directory of ArrayRecord files.

    Args:
      dataset: a name or a value.
      directory: gets NAME/VERSION/ with the files; what is there already is kept.
      data_dir: folder with the original files; from the network when None.
      num_shards: files of each split; by its size when None. Many hosts read several files at a time.

    Returns:
      The directory of the version, for `dl.data.tfds`.
    """
    import tensorflow_datasets as tfds

    builder = tfds_class(dataset, data_dir)(data_dir=str(directory), file_format="array_record")
    with tempfile.TemporaryDirectory() as downloads:  # TFDS wants one, and nothing goes there
        config = tfds.download.DownloadConfig(num_shards=num_shards)
        builder.download_and_prepare(download_dir=downloads, download_config=config)
    return Path(builder.data_path)


def tfds_class(dataset: str | ImageSet | TextSet, data_dir: str | Path | None = None) -> Any:
    """A subclass of `tfds.core.GeneratorBasedBuilder` for a data set; its records are in the order of our arrays."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    if isinstance(dataset, str):
        dataset = sets.IMAGE_SETS.get(dataset) or sets.text_set(dataset)
    content = originals.contents(dataset.name, dataset.files, data_dir)
    if isinstance(dataset, ImageSet):
        features: dict[str, Any] = {
            "image": tfds.features.Image(shape=dataset.image_shape, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=dataset.class_names),
        }
    else:
        features = {"text": tfds.features.Text()}

    def info(self: Any) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(type(dataset).__doc__ or "").strip(),
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label") if isinstance(dataset, ImageSet) else None,
            citation=dataset.citation,
            disable_shuffling=True,
        )

    def examples(split: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        if isinstance(dataset, TextSet):
            yield 0, {"text": dataset.read(split, content)}
            return
        arrays = dataset.read(split, content)
        for number, (image, label) in enumerate(zip(arrays["image"], arrays["label"], strict=True)):
            yield number, {"image": _png(image), "label": int(label)}

    members = {
        "name": dataset.name,
        "VERSION": tfds.core.Version(dataset.version if re.fullmatch(r"\d+\.\d+\.\d+", dataset.version) else "1.0.0"),
        "_info": info,
        "_split_generators": lambda self, download_manager: {split: examples(split) for split in dataset.splits},
        "_generate_examples": lambda self, split: examples(split),
        "__module__": __name__,
    }
    with registered.skip_registration():  # TFDS has a "mnist" of its own, which needs TensorFlow
        return type(dataset.name, (tfds.core.GeneratorBasedBuilder,), members)


def _png(image: np.ndarray) -> bytes:
    """An image as PNG, without loss: TFDS encodes arrays with TensorFlow, and takes bytes without."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "png")
    return buffer.getvalue()
