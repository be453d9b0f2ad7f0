"""What a data set is, before anything is read: plain records that cost nothing to import.

The kinds, `ImageSet`, `TextSet` and (for all else) `ExampleSet` in `deeplab.data.sets.examples`, hold the metadata
that experiments need (sizes, shapes, names of classes) and one function that reads the original files.
`deeplab.data.prepare.arrayrecord` makes a TFDS builder of any.
"""

from __future__ import annotations

import abc
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Source
from deeplab.data.prepare import cache, originals
from deeplab.data.prepare.originals import Content

if TYPE_CHECKING:
    from deeplab.data.sets.examples import ExampleSet


@dataclasses.dataclass(frozen=True)
class File:
    """An original file, as it is once uncompressed.

    Wrappers differ between mirrors (a `.gz` holds a time stamp), so that size and checksum are those of the content.

    Args:
      name: without ".gz"; the file may lie on the disk with or without it.
      url: where it is distributed; compressed if it ends in ".gz".
      size: in bytes; reading stops there, whatever a damaged or malicious wrapper unfolds to.
      sha256: of the content.
    """

    name: str
    url: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Archive:
    """An original archive (.tar, .tar.gz, .zip), of which some members are read.

    The same members come in many wrappers (a mirror packs them anew, a host puts them into a folder named after the
    commit), so that the digest is that of the members; or of the archive itself, where it never changes.

    Args:
      name: with its suffix, as it lies on the disk.
      url: where it is distributed.
      size: in bytes, of all members that are read together; reading stops there.
      pattern: a regular expression that is searched in the paths of the members; what it matches is a member's name.
      sha256: of the lines "SHA256  NAME" of the members, sorted by name; see `originals.digest`.
      archive_sha256: of the archive as it is distributed; where it is given, `sha256` is not.
    """

    name: str
    url: str
    size: int
    pattern: str
    sha256: str = ""
    archive_sha256: str = ""


Original = File | Archive


class ImageSet(abc.ABC):
    """Labelled images of one shape. Subclasses are frozen records.

    Attributes:
      name: also the folder of the prepared copy.
      version: raised whenever the same files would be prepared differently.
      citation: whom to cite, and where it is.
      files: the originals; none when they come with a dependency, or are the user's own.
      cached: whether a decoded copy is kept on the disk.
      image_shape: (H, W, C).
      class_names: one per label, in order.
      mean: per channel, or one for all, of the training images scaled to [0, 1].
      std: likewise; `Images.transform` gives (image / 255 - mean) / std.
    """

    name: str
    version: str
    citation: str
    files: tuple[Original, ...] = ()
    cached: ClassVar[bool] = True
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    @abc.abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Examples of each split, known without reading them."""

    @abc.abstractmethod
    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        """`image` [N, H, W, C] uint8 and `label` [N] int32, in an order that never changes.

        Args:
          split: one of `splits`.
          content: gives the content of an original file by its name.
        """

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        """The split as arrays: memory-mapped, decoded once and kept in the cache."""

        def make() -> dict[str, np.ndarray]:
            arrays = self.read(split, originals.contents(self.name, self.files, data_dir))
            check_images(self, split, arrays)
            return arrays

        return open_arrays(self, split, make)


class TextSet(abc.ABC):
    """Running text. Subclasses are frozen records; the attributes are those of `ImageSet`.

    Attributes:
      characters: every character that occurs, sorted, where it is known beforehand.
    """

    name: str
    version: str
    citation: str
    files: tuple[Original, ...] = ()
    cached: ClassVar[bool] = True
    characters: str | None = None

    @property
    @abc.abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Bytes of each split, known without reading them."""

    @abc.abstractmethod
    def read(self, split: str, content: Content) -> bytes:
        """The text of a split, as it is in the files."""


def open_arrays(dataset: ImageSet | ExampleSet, split: str, make: Callable[[], Mapping[str, np.ndarray]]) -> Source:
    """A split's arrays: made once, then memory-mapped from the cache."""
    check_split(dataset, split)
    folder = cache.cache_dir() / dataset.name / dataset.version / split
    return Source(dataset.splits[split], cache.arrays(folder, make) if dataset.cached else make())


def check_split(dataset: ImageSet | TextSet | ExampleSet, split: str) -> None:
    """Raises UserError unless `split` is there and is not empty."""
    splits = dataset.splits
    if split not in splits:
        raise UserError(f"{dataset.name} has no split {split!r}, only {', '.join(splits)}")
    if splits[split] < 1:
        raise UserError(f"split {split!r} of {dataset.name} is empty; at least one example is needed")


def check_images(dataset: ImageSet, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises UserError unless the arrays are what the metadata says.

    Labels are looked at here, once, on the host: on the device one too large gives a NaN and a negative one a
    loss that is silently wrong.
    """
    where, size = f"split {split!r} of {dataset.name}", dataset.splits[split]
    image, label = arrays["image"], arrays["label"]
    if image.shape != (size, *dataset.image_shape):
        expected = (size, *dataset.image_shape)
        raise UserError(f"images of {where} have shape {image.shape}, expected [N, H, W, C] = {expected}")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"images of {where} are {image.dtype}, expected uint8, or floats in [0, 1]")
    if label.shape != (size,) or not np.issubdtype(label.dtype, np.integer):
        raise UserError(f"labels of {where} are {label.dtype}{list(label.shape)}, expected integers [{size}]")
    wrong = np.flatnonzero((label < 0) | (label >= len(dataset.class_names)))
    if len(wrong):
        raise UserError(
            f"label {label[wrong[0]]} of example {wrong[0]} in {where} is outside 0 to {len(dataset.class_names) - 1} "
            f"({len(wrong)} such labels); there are {len(dataset.class_names)} class names"
        )
    if np.issubdtype(image.dtype, np.floating) and (image.min() < -0.5 or image.max() > 1.5):
        warnings.warn(  # a model accepts them in silence
            f"images of {where} are {image.dtype} from {image.min():g} to {image.max():g}, expected [0, 1]; "
            "give them as uint8, or scale them",
            stacklevel=2,
        )
