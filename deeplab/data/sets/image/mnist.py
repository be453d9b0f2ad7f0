"""MNIST and Fashion-MNIST, from the original IDX files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import Normalize, Standardize
from deeplab.data.prepare.files import File
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field, image_fields

_PREFIX = {"train": "train", "test": "t10k"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Idx(ExampleSet):
    """A set of gray images in four IDX files, named as MNIST's are."""

    name: str
    citation: str
    files: tuple[File, ...]
    class_names: tuple[str, ...]
    normalize: Normalize | None
    version: str = "1.0.0"
    sizes: tuple[int, int] = (60_000, 10_000)

    @property
    def splits(self) -> Mapping[str, int]:
        return dict(zip(_PREFIX, self.sizes, strict=True))

    @property
    def fields(self) -> Mapping[str, Field]:
        return image_fields((28, 28, 1), len(self.class_names))

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        image = parse(content(f"{_PREFIX[split]}-images-idx3-ubyte"))
        label = parse(content(f"{_PREFIX[split]}-labels-idx1-ubyte"))
        return {"image": image[..., None], "label": label.astype(np.int32)}  # [N, H, W] -> [N, H, W, 1]


def parse(content: bytes) -> np.ndarray:
    """An array of bytes in the IDX format (LeCun, http://yann.lecun.com/exdb/mnist/): magic, dimensions, values.

    Example:
      >>> parse(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
      array([7, 9], dtype=uint8)
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise UserError(f"not an IDX file of bytes: it begins with {content[:4].hex()}, expected 000008")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != np.prod(shape, dtype=np.int64):
        raise UserError(f"IDX file declares shape {shape} and holds {len(content) - start} values")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _files(url: str, *digests: str) -> tuple[File, ...]:
    sizes = {"train-images-idx3": 47_040_016, "train-labels-idx1": 60_008, "t10k-images-idx3": 7_840_016}
    sizes |= {"t10k-labels-idx1": 10_008}
    return tuple(
        File(f"{name}-ubyte", f"{url}/{name}-ubyte.gz", size, digest)
        for (name, size), digest in zip(sizes.items(), digests, strict=True)
    )


MNIST = Idx(
    name="mnist",
    citation="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. "
    "Proc. IEEE 86(11), 1998. https://doi.org/10.1109/5.726791",
    files=_files(
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    class_names=tuple("0123456789"),
    normalize=Standardize(mean=(0.1307,), std=(0.3081,)),
)

FASHION_MNIST = Idx(
    name="fashion_mnist",
    citation="Xiao, Rasul, Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking machine learning "
    "algorithms. 2017. https://arxiv.org/abs/1708.07747",
    files=_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    normalize=Standardize(mean=(0.2860,), std=(0.3530,)),
)
