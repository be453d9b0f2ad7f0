"""A user's own images, in folders named after their classes or in one flat folder."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare import archives, images
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field, image_fields

_UNLABELED = ""  # the "class" of images that lie in no folder of a class


@dataclasses.dataclass(frozen=True)
class ImageFolder(ExampleSet):
    """`path/CLASS/*.png` (or .jpg, ...), or without labels `path/*.png`; with splits, `path/train/...` and others.

    Without split folders every tenth image of each class, in alphabetical order, is a test image. Each image is scaled
    so that its shorter side fits, and cropped at the center.

    Args:
      path: The folder, or an archive (.tar, .tar.gz, .zip) of it.
      size: Height and width in pixels.
      channels: 3 for color, 1 for gray.
      test_every: One image in so many is a test image, where there are no split folders.
      normalize: Normalization of the images in [0, 1].

    Raises:
      UserError: there is no such folder or archive, it holds no images, or a file is no image.
    """

    path: str | Path
    size: int = 64
    channels: int = 3
    test_every: int = 10
    normalize: Normalize | None = CENTERED
    name: str = "image_folder"
    citation: str = ""

    @property
    def fields(self) -> Mapping[str, Field]:
        return image_fields((self.size, self.size, self.channels), len(self.class_names))

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        """Digest of the files' names, sizes and times, so that a changed folder is prepared anew."""
        stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for files in self._files.values() for p, _ in files]
        made_from = (stats, self.class_names, self.size, self.channels, self.test_every)
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names of the folders; empty where the images lie in none."""
        names = tuple(sorted({folder.name for split in self._splits.values() for folder in _folders(split)}))
        if not names and not any(_images(split) for split in self._splits.values()):
            raise UserError(f"{self.path} holds no images; expected {self.path}/CLASS/*.png, or {self.path}/*.png")
        return names

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        paths, labels = zip(*self._files[split], strict=True)
        shape = self.fields["image"].shape
        with concurrent.futures.ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
            image = np.stack(list(pool.map(lambda path: images.load(path, shape), paths)))
        return {"image": image} | ({"label": np.array(labels, np.int32)} if self.class_names else {})

    @functools.cached_property
    def _splits(self) -> dict[str, Path]:
        """Folder of each split; a single one, "", when the set has none."""
        path = Path(self.path).expanduser().resolve()
        root = archives.unpacked(path) if path.is_file() else path
        if not root.is_dir():
            raise UserError(f"there is no folder or archive {path}")
        folders = _folders(root)
        if len(folders) == 1 and folders[0].name != "train" and (inner := _folders(folders[0])):
            root, folders = folders[0], inner  # an archive often holds its folder, not the folder's content
        return {f.name: f for f in folders} if "train" in {f.name for f in folders} else {"": root}

    @functools.cached_property
    def _files(self) -> dict[str, list[tuple[Path, int]]]:
        """Images with their labels (0 without classes), sorted by class and name, by split."""
        found = {
            split: [
                (path, label)
                for label, name in enumerate(self.class_names or (_UNLABELED,))
                for path in _images(folder / name)
            ]
            for split, folder in self._splits.items()
        }
        if (every := found.get("")) is None:
            return found
        return {"train": [f for i, f in enumerate(every) if i % self.test_every], "test": every[:: self.test_every]}


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.suffix.lower() in images.SUFFIXES]
