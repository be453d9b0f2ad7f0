"""Folders as people have them: without what systems add, and through links that do not turn in circles."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

_ADDED = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"})


SPLITS: Mapping[str, str] = {
    "train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip
"""The split that a file or folder stands for, by its name in lower case."""


def is_junk(path: PurePath) -> bool:
    """Whether a file system, or a program that packs archives, adds a file or folder of this name; hidden ones, too.

    Example:
      >>> [is_junk(PurePath(name)) for name in ("__MACOSX/._cat.jpg", "Thumbs.db", ".DS_Store", "cat.jpg")]
      [True, True, True, False]
    """
    return path.name.startswith(".") or path.name.lower() in _ADDED


def split(path: PurePath) -> str:
    """The split that the first such folder of a relative path stands for; "" where there is none.

    Example:
      >>> split(PurePath("photos/Val/a.png")), split(PurePath("val.png"))
      ('validation', '')
    """
    return next((SPLITS[name] for part in path.parts[:-1] if (name := part.lower()) in SPLITS), "")


def is_utf8(name: str) -> bool:
    r"""Whether a file's name is UTF-8; Python lets surrogates stand for bytes that are not, and such a name cannot be
    printed.

    Example:
      >>> is_utf8("naïve.txt"), is_utf8(b"na\xefve.txt".decode("utf-8", "surrogateescape"))
      (True, False)
    """
    return not any("\ud800" <= character <= "\udfff" for character in name)


def children(folder: Path) -> list[Path]:
    """What a folder holds, without junk, in the order of names.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> for name in ("b.txt", "a.txt", ".DS_Store"):
      ...     (folder / name).touch()
      >>> [path.name for path in children(folder)]
      ['a.txt', 'b.txt']
    """
    return [path for path in sorted(folder.iterdir()) if not is_junk(path)]


def files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The files below a folder, without junk, in the order of names; a link to a folder above it is not followed.

    Args:
      folder: Folder to look through.
      above: Resolved folders above it.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> (folder / "below").mkdir()
      >>> (folder / "below" / "a.txt").touch()
      >>> (folder / "below" / "around").symlink_to(folder)
      >>> [path.name for path in files(folder)]
      ['a.txt']
    """
    real = folder.resolve()
    if real in above:
        return
    for path in children(folder):
        if path.is_dir():
            yield from files(path, (*above, real))
        else:
            yield path


def tell(where: Path | str, what: str, which: Sequence[Path | str], mend: str = "") -> None:
    """Warns of what is not read as a user may expect; of nothing where there is none.

    Args:
      where: Folder that is read.
      what: Description of the items, after their number.
      which: Paths or names; the first five are shown.
      mend: What to do about it.

    Example:
      >>> with warnings.catch_warnings(record=True, action="always") as told:
      ...     tell("photos", "files are no images, and are left out", ["notes.txt"], "remove them")
      ...     tell("photos", "files are empty", [])
      >>> [str(warning.message) for warning in told]
      ['photos: 1 files are no images, and are left out: notes.txt; remove them']
    """
    if which:
        names = ", ".join("/".join(Path(name).parts[-2:]) for name in which[:5])
        more, mend = ", ..." if len(which) > 5 else "", mend and f"; {mend}"
        warnings.warn(f"{where}: {len(which)} {what}: {names}{more}{mend}", stacklevel=3)
