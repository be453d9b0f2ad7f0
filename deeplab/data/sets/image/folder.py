"""A user's own images, in folders named after their classes or in one flat folder."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare import archives, class_folders, folders, images
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field, image_fields

_FORMAT = 2  # of the prepared copies; raised when the same files are read otherwise


@dataclasses.dataclass(frozen=True)
class ImageFolder(ExampleSet):
    """`path/CLASS/*.png` (or .jpg, ...), or without labels `path/*.png`; with splits, `path/train/...` and others.

    Images in folders below CLASS belong to it. Folders of splits are `train`, `val` (or `valid`, `validation`), which
    is the split "validation", and `test`; another folder beside `train` is a split of its name. Without them every
    tenth image of each class, in alphabetical order and from the first on, is a test image; the only image of a class
    is a training image. A single folder of folders, as archives often hold, is passed through. What systems add
    (`__MACOSX`, `.DS_Store`, `Thumbs.db`, hidden files) is skipped; whatever else is left out is named in a warning.

    An image is read as it is seen (see `prepare.images.decode`: upright, on white), scaled so that its shorter side
    fits, and cropped at the center.

    Args:
      path: The folder, or an archive (.tar, .tar.gz, .zip) of it.
      size: Height and width in pixels.
      channels: 3 for color, 1 for gray.
      test_every: One image in so many is a test image, where there are no split folders; at least 2.
      normalize: Normalization of the images in [0, 1].

    Raises:
      UserError: there is no such folder or archive, it holds no images, its classes or splits are ambiguous, or a file
        is no image.

    Example:
      >>> import pathlib, tempfile
      >>> from PIL import Image
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for name in ("cat", "dog"):
      ...     (folder / name).mkdir()
      ...     Image.new("RGB", (8, 8)).save(folder / name / "1.png")
      ...
      >>> ImageFolder(folder, size=4).class_names
      ('cat', 'dog')
    """

    path: str | Path
    size: int = 64
    channels: int = 3
    test_every: int = 10
    normalize: Normalize | None = CENTERED
    name: str = "image_folder"
    citation: str = ""

    def __post_init__(self) -> None:
        if self.size < 1 or self.channels not in (1, 3) or self.test_every < 2:
            given = f"size={self.size}, channels={self.channels}, test_every={self.test_every}"
            raise UserError(f"images of {self.path}: {given}; expected a size of 1 or more, 1 or 3, and 2 or more")

    @property
    def fields(self) -> Mapping[str, Field]:
        return image_fields((self.size, self.size, self.channels), len(self.class_names))

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        """Digest of the files' names, sizes and times, so that a changed folder is prepared anew."""
        stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for files in self._files.values() for p, _ in files]
        made_from = (_FORMAT, stats, self.class_names, self.size, self.channels, self.test_every)
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names of the folders; empty where the images lie in none."""
        return class_folders.names(self._images, self.path, "images", "*.png")

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        paths, labels = zip(*self._files[split], strict=True)
        image = images.load_all(paths, self.fields["image"].shape)
        return {"image": image} | ({"label": np.array(labels, np.int32)} if self.class_names else {})

    @functools.cached_property
    def _images(self) -> class_folders.Files:
        return class_folders.find(self.path, archives.folder(self.path), images.SUFFIXES, "images")

    @functools.cached_property
    def _files(self) -> dict[str, list[tuple[Path, int]]]:
        """Images with their labels (0 without classes), sorted by class and name, by split."""
        names, every = self.class_names or (class_folders.UNLABELED,), self.test_every
        lists = {split: [classes.get(name, []) for name in names] for split, classes in self._images.items()}
        if (whole := lists.pop("", None)) is not None:
            single = [name for name, paths in zip(names, whole, strict=True) if len(paths) == 1]
            mend = (
                f"add images, or choose test images yourself, as {self.path}/test/CLASS beside {self.path}/train/CLASS"
            )
            folders.tell(self.path, "classes have a single image, and so none to test on", single, mend)
            lists["train"] = [paths if len(paths) == 1 else _without(paths, every) for paths in whole]
            lists["test"] = [paths[::every] if len(paths) > 1 else [] for paths in whole]
        else:
            untaught = [name for name, paths in zip(names, lists["train"], strict=True) if not paths]
            folders.tell(self.path, "classes have no image to train on", untaught)
        return {
            split: [(path, label) for label, paths in enumerate(by_class) for path in paths]
            for split, by_class in lists.items()
        }


def _without(paths: list[Path], every: int) -> list[Path]:
    return [path for number, path in enumerate(paths) if number % every]
