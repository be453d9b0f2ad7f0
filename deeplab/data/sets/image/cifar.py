"""CIFAR-10, from the original archive of binary batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import Normalize, Standardize
from deeplab.data.prepare.files import Archive
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field, image_fields

_RECORD = 1 + 3 * 32 * 32  # bytes: a label, and the red, green and blue planes

_NORMALIZE = Standardize(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
_ARCHIVE = Archive(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    size=60_000 * _RECORD,
    pattern=r"(data_batch_[1-5]|test_batch)\.bin$",
    archive_sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)


@dataclasses.dataclass(frozen=True)
class Cifar10(ExampleSet):
    """60,000 photographs of 32 x 32 pixels in ten classes, 6,000 each, in the authors' split."""

    name: str = "cifar10"
    version: str = "1.0.0"
    citation: str = (
        "Krizhevsky: Learning multiple layers of features from tiny images. Technical report, University of Toronto, "
        "2009. https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf"
    )
    files: tuple[Archive, ...] = (_ARCHIVE,)
    sizes: tuple[int, int] = (50_000, 10_000)
    class_names: tuple[str, ...] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    normalize: Normalize | None = _NORMALIZE

    @property
    def splits(self) -> Mapping[str, int]:
        return dict(zip(("train", "test"), self.sizes, strict=True))

    @property
    def fields(self) -> Mapping[str, Field]:
        return image_fields((32, 32, 3), num_classes=10)

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        prefix = {"train": "data", "test": "test"}[split]
        batches = content.members(self.files[0].name)  # sorted, so that the order is the authors'
        image, label = parse(b"".join(data for name, data in batches.items() if name.startswith(prefix)))
        return {"image": image, "label": label}


def parse(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3] uint8 and labels [N] int32 of binary batches (https://www.cs.toronto.edu/~kriz/cifar.html).

    Example:
      >>> image, label = parse(bytes([7]) + bytes(1024) + bytes([9]) * 2048)
      >>> label.tolist(), image[0, 0, 0].tolist()
      ([7], [0, 9, 9])
    """
    if len(content) % _RECORD:
        raise UserError(f"binary batches of CIFAR-10 hold {len(content):,} bytes, expected a multiple of {_RECORD:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)  # [N, C, H, W]
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int32)


CIFAR10 = Cifar10()
