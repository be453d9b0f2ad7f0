"""A user's files in folders named after their classes, below folders of splits or not."""

from __future__ import annotations

import collections
import unicodedata
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from deeplab.core.errors import UserError
from deeplab.data.prepare import folders
from deeplab.data.prepare.folders import SPLITS

UNLABELED = ""
"""The "class" of files that lie in no folder of a class."""

Files = dict[str, dict[str, list[Path]]]
"""Files by split and class, in the order of names; the only split is "" where there are no folders of splits."""


def find(given: str | Path, root: Path, suffixes: Collection[str], noun: str) -> Files:
    """The files of some suffixes below a folder; what is left out is told.

    Args:
      given: Path that the user gave, for messages.
      root: Folder to look through.
      suffixes: Suffixes of the files, in lower case.
      noun: Plural of what the files are, such as "images", for messages.

    Raises:
      UserError: a folder cannot be read, its splits are ambiguous, or splits lie below classes.

    Example:
      >>> import tempfile
      >>> root = Path(tempfile.mkdtemp())
      >>> for name in ("train/cat/a.png", "train/dog/b.png", "val/cat/c.png"):
      ...     (root / name).parent.mkdir(parents=True)
      ...     (root / name).touch()
      >>> found = find(root, root, {".png"}, "images")
      >>> {split: [*classes] for split, classes in found.items()}, found["validation"]["cat"][0].name
      ({'train': ['cat', 'dog'], 'validation': ['cat']}, 'c.png')
    """

    def is_one(path: Path) -> bool:
        return path.suffix.lower() in suffixes and path.is_file()

    try:
        splits, every = _splits(root, is_one), list(folders.files(root))
        inside = [folder for start in splits.values() for folder in _folders(start)]
        _check_layout(inside)
    except OSError as error:
        raise UserError(f"{error.filename or given} cannot be read ({error.strerror or error})") from error
    found: Files = {split: collections.defaultdict(list) for split in splits}
    stray, roots = [], {start: split for split, start in splits.items()}
    for path in filter(is_one, every):
        start = next((folder for folder in path.parents if folder in roots), None)
        if start is None:
            stray.append(path)
        else:
            found[roots[start]][path.relative_to(start).parts[0] if path.parent != start else UNLABELED].append(path)
    classes = {name for split in found.values() for name in split}
    if classes > {UNLABELED}:
        stray += [path for split in found.values() for path in split.pop(UNLABELED, [])]
    others, empty = [path for path in every if not is_one(path)], {folder.name for folder in inside} - classes
    folders.tell(given, f"{noun} lie in no folder of a class, and are left out", stray)
    folders.tell(given, f"files are not read as {noun} (by their suffix), and are left out", others)
    folders.tell(given, f"folders hold no {noun}, and are no classes", sorted(empty) if classes else [])
    return found


def names(found: Files, given: str | Path, noun: str, pattern: str) -> tuple[str, ...]:
    """Names of the classes; none where the files lie in no folder of a class.

    Args:
      found: Files by split and class.
      given: Path that the user gave, for messages.
      noun: Plural of what the files are, for messages.
      pattern: Pattern of a file, such as "*.png", for messages.

    Raises:
      UserError: there are no files, or a name cannot be printed, or looks like another.

    Example:
      >>> names({"train": {"dog": [Path("a.png")], "cat": [Path("b.png")]}}, "pets", "images", "*.png")
      ('cat', 'dog')
      >>> names({"": {"Cat": [Path("a.png")], "cat": [Path("b.png")]}}, "pets", "images", "*.png")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: the folders 'Cat' and 'cat' of pets differ only in case ...; give a class one name
    """
    told = {name for classes in found.values() for name, paths in classes.items() if paths}
    if not told:
        raise UserError(f"{given} holds no {noun}; expected {given}/CLASS/{pattern}, or {given}/{pattern}")
    _check_names(told - {UNLABELED}, given)
    return tuple(sorted(told - {UNLABELED}))


def _check_names(told: set[str], where: str | Path) -> None:
    """Refuses classes whose names cannot be printed, or look alike."""
    seen: dict[str, str] = {}
    for name in sorted(told):
        if not folders.is_utf8(name):
            raise UserError(f"the folder {name!a} of {where} has a name that is not UTF-8; rename it")
        if (other := seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)) != name:
            raise UserError(
                f"the folders {other!a} and {name!a} of {where} differ only in case or in the encoding of their "
                "letters; give a class one name"
            )


def _splits(root: Path, is_one: Callable[[Path], bool]) -> dict[str, Path]:
    """Folder of each split; a single one, "", when the set has none."""
    inside = _folders(root)
    above = (root.resolve(),)
    # An archive often holds its folder, not the folder's content.
    while len(inside) == 1 and inside[0].name.lower() not in SPLITS and _holds_folders(inside[0], above, is_one):
        root, inside = inside[0], _folders(inside[0])
        above = (*above, root.resolve())
    named = {SPLITS.get(folder.name.lower()) for folder in inside}
    if "train" not in named:
        if inside and None not in named:
            told = ", ".join(folder.name for folder in inside)
            raise UserError(f"{root} has the folders {told}, but none to train on; name that one train")
        return {"": root}
    found: dict[str, Path] = {}
    for folder in inside:
        split = SPLITS.get(folder.name.lower(), folder.name)
        if split in found:
            raise UserError(f"{found[split]} and {folder} are both the split {split!r}; keep one")
        found[split] = folder
    return found


def _folders(path: Path) -> list[Path]:
    return [folder for folder in folders.children(path) if folder.is_dir()]


def _holds_folders(folder: Path, above: tuple[Path, ...], is_one: Callable[[Path], bool]) -> bool:
    """Whether there are files of the kind in the folders that a folder holds."""
    return any(is_one(path) and path.parent != folder for path in folders.files(folder, above))


def _check_layout(classes: Sequence[Path]) -> None:
    """Refuses splits below classes, which would mix training and test files."""
    for folder in classes:
        if inner := ", ".join(below.name for below in _folders(folder) if below.name.lower() in SPLITS):
            raise UserError(f"{folder} has folders {inner}; put them above the classes, as in train/{folder.name}")
