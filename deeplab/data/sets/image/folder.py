"""A user's own images, in folders named after their classes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import archives
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ImageSet

if TYPE_CHECKING:
    from PIL import Image

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


@dataclasses.dataclass(frozen=True)
class ImageFolder(ImageSet):
    """`path/CLASS/*.png` (or .jpg, ...), or `path/train/CLASS/*` with the other splits beside it.

    Without such split folders every tenth image of each class, in alphabetical order, is a test image. Each image is
    scaled so that its shorter side fits, and cropped at the centre.

    Args:
      path: the folder, or an archive (.tar, .tar.gz, .zip) of it.
      size: height and width in pixels.
      channels: 3 for colour, 1 for grey.
      test_every: of the split made when there is none; 10 takes a tenth.
      mean: per channel, or one for all, of images in [0, 1].
      std: likewise.
    """

    path: str | Path
    size: int = 64
    channels: int = 3
    test_every: int = 10
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    name: str = "image_folder"
    citation: str = ""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.size, self.size, self.channels

    @property
    def version(self) -> str:
        """Tells one state of the files from another, so that a changed folder is prepared anew."""
        stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for files in self._files.values() for p, _ in files]
        made_from = (stats, self.class_names, self.size, self.channels, self.test_every)
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        names = tuple(sorted({folder.name for split in self._splits.values() for folder in _folders(split)}))
        if not names:
            raise UserError(f"{self.path} holds no folders of images; expected {self.path}/CLASS/*.png")
        return names

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        with concurrent.futures.ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
            images = list(pool.map(lambda file: load(file[0], self.image_shape), self._files[split]))
        return {"image": np.stack(images), "label": np.array([label for _, label in self._files[split]], np.int32)}

    @functools.cached_property
    def _splits(self) -> dict[str, Path]:
        """Folders of classes by split; a single one, "", when the set has no split."""
        path = Path(self.path).expanduser().resolve()
        root = archives.unpacked(path) if path.is_file() else path
        if not root.is_dir():
            raise UserError(f"there is no folder or archive {path}")
        folders = _folders(root)
        if len(folders) == 1 and folders[0].name != "train" and (inner := _folders(folders[0])):
            root, folders = folders[0], inner  # an archive often holds its folder, not what is in it
        return {f.name: f for f in folders} if "train" in {f.name for f in folders} else {"": root}

    @functools.cached_property
    def _files(self) -> dict[str, list[tuple[Path, int]]]:
        """Images with their labels, sorted by class and name, by split."""
        found = {
            split: [
                (path, label)
                for label, name in enumerate(self.class_names)
                for path in sorted((folder / name).glob("*"))
                if path.suffix.lower() in _SUFFIXES
            ]
            for split, folder in self._splits.items()
        }
        if (every := found.get("")) is None:
            return found
        return {"train": [f for i, f in enumerate(every) if i % self.test_every], "test": every[:: self.test_every]}


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def load(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """One image file as [H, W, C] uint8."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return fit(image, shape)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not an image that can be read ({error}); mend or remove it") from error


def fit(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """An image as [H, W, C] uint8, its shorter side scaled to fit and the rest cropped at the centre."""
    from PIL import Image, ImageOps

    height, width, channels = shape
    image = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(shape)
