"""A user's own images, in folders named after their classes or in one flat folder."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare import archives, folders, images
from deeplab.data.prepare.folders import SPLITS
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field, image_fields

_FORMAT = 2  # of the prepared copies; raised when the same files are read otherwise
_UNLABELED = ""  # the "class" of images that lie in no folder of a class


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
        names = {name for classes in self._images.values() for name, paths in classes.items() if paths}
        if not names:
            raise UserError(f"{self.path} holds no images; expected {self.path}/CLASS/*.png, or {self.path}/*.png")
        _check_names(names - {_UNLABELED}, self.path)
        return tuple(sorted(names - {_UNLABELED}))

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
    def _root(self) -> Path:
        path = Path(self.path).expanduser().resolve()
        root = archives.unpacked(path) if path.is_file() else path
        if not root.is_dir():
            raise UserError(f"there is no folder or archive {path}")
        return root

    @property
    def _splits(self) -> dict[str, Path]:
        """Folder of each split; a single one, "", when the set has none."""
        root = self._root
        inside = _folders(root)
        above = (root.resolve(),)
        while len(inside) == 1 and inside[0].name.lower() not in SPLITS and _holds_folders(inside[0], above):
            root, inside = inside[0], _folders(inside[0])  # an archive often holds its folder, not the folder's content
            above = (*above, root.resolve())
        named = {SPLITS.get(folder.name.lower()) for folder in inside}
        if "train" not in named:
            if inside and None not in named:
                names = ", ".join(folder.name for folder in inside)
                raise UserError(f"{root} has the folders {names}, but none to train on; name that one train")
            return {"": root}
        found: dict[str, Path] = {}
        for folder in inside:
            split = SPLITS.get(folder.name.lower(), folder.name)
            if split in found:
                raise UserError(f"{found[split]} and {folder} are both the split {split!r}; keep one")
            found[split] = folder
        return found

    @functools.cached_property
    def _images(self) -> dict[str, dict[str, list[Path]]]:
        """Images by split and class, in the order of names; what is left out is told."""
        try:
            splits, every = self._splits, list(folders.files(self._root))
            inside = [folder for root in splits.values() for folder in _folders(root)]
            _check_layout(inside)
        except OSError as error:
            raise UserError(f"{error.filename or self.path} cannot be read ({error.strerror or error})") from error
        found: dict[str, dict[str, list[Path]]] = {split: collections.defaultdict(list) for split in splits}
        stray, roots = [], {root: split for split, root in splits.items()}
        for path in filter(_is_image, every):
            root = next((folder for folder in path.parents if folder in roots), None)
            if root is None:
                stray.append(path)
            else:
                found[roots[root]][path.relative_to(root).parts[0] if path.parent != root else _UNLABELED].append(path)
        classes = {name for split in found.values() for name in split}
        if classes > {_UNLABELED}:
            stray += [path for split in found.values() for path in split.pop(_UNLABELED, [])]
        others, empty = [path for path in every if not _is_image(path)], {folder.name for folder in inside} - classes
        folders.tell(self.path, "images lie in no folder of a class, and are left out", stray)
        folders.tell(self.path, "files are not read as images (by their suffix), and are left out", others)
        folders.tell(self.path, "folders hold no images, and are no classes", sorted(empty) if classes else [])
        return found

    @functools.cached_property
    def _files(self) -> dict[str, list[tuple[Path, int]]]:
        """Images with their labels (0 without classes), sorted by class and name, by split."""
        names, every = self.class_names or (_UNLABELED,), self.test_every
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


def _folders(path: Path) -> list[Path]:
    return [folder for folder in folders.children(path) if folder.is_dir()]


def _holds_folders(folder: Path, above: tuple[Path, ...]) -> bool:
    """Whether there are images in the folders that a folder holds."""
    return any(_is_image(path) and path.parent != folder for path in folders.files(folder, above))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES and path.is_file()


def _without(paths: list[Path], every: int) -> list[Path]:
    return [path for number, path in enumerate(paths) if number % every]


def _check_layout(classes: Sequence[Path]) -> None:
    """Refuses splits below classes, which would mix training and test images."""
    for folder in classes:
        if inner := ", ".join(below.name for below in _folders(folder) if below.name.lower() in SPLITS):
            raise UserError(f"{folder} has folders {inner}; put them above the classes, as in train/{folder.name}")


def _check_names(names: set[str], where: str | Path) -> None:
    """Refuses classes whose names cannot be printed, or look alike."""
    seen: dict[str, str] = {}
    for name in sorted(names):
        if not folders.is_utf8(name):
            raise UserError(f"the folder {name!a} of {where} has a name that is not UTF-8; rename it")
        if (other := seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)) != name:
            raise UserError(
                f"the folders {other!a} and {name!a} of {where} differ only in case or in the encoding of their "
                "letters; give a class one name"
            )
