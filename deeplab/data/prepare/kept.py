"""What the cache keeps: prepared copies, downloads and unpacked archives, and their sizes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from deeplab.data.prepare import cache

Kind = Literal["prepared", "download", "unpacked"]

_LOCK = ".lock-"  # which `cache.publish` writes beside all that it makes, and nobody else does
_KINDS: dict[str, Kind] = {"downloads": "download", "unpacked": "unpacked"}


class Kept(NamedTuple):
    """One file or folder of the cache.

    Attributes:
      kind: What it is.
      name: Name of the set; of the archive, if it is unpacked.
      path: Its path.
      nbytes: Its size.

    Example:
      >>> some = Kept("download", "mnist", Path("a.gz"), 300), Kept("prepared", "digits", Path("digits"), 70)
      >>> sum(one.nbytes for one in some if one.kind == "download")
      300
    """

    kind: Kind
    name: str
    path: Path
    nbytes: int


def kept() -> list[Kept]:
    """All that the cache keeps, in the order of paths; files that it did not write are not among it.

    Example:
      >>> import tempfile
      >>> from unittest import mock
      >>> with mock.patch.dict("os.environ", DEEPLAB_CACHE=tempfile.mkdtemp()):
      ...     path = cache.cache_dir() / "downloads" / "letters" / "a.txt"
      ...     _ = cache.publish(path, lambda partial: partial.write_bytes(b"abc"))
      ...     [(one.kind, one.name, one.nbytes) for one in kept()]
      [('download', 'letters', 3)]
    """
    root, found = cache.cache_dir(), []
    for depth in ("*", "*/*"):
        for lock in root.glob(f"{depth}/{_LOCK}*"):
            path = lock.with_name(lock.name.removeprefix(_LOCK))
            parts = path.relative_to(root).parts
            kind = _KINDS.get(parts[0], "prepared")
            if path.exists():
                found.append(Kept(kind, parts[0] if kind == "prepared" else parts[1], path, _nbytes(path)))
    return sorted(found, key=lambda one: one.path)


def _nbytes(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(some: Iterable[Kept]) -> int:
    """Deletes what the cache keeps, and returns the number of bytes.

    The locks stay: another process may wait for one.

    Example:
      >>> import tempfile
      >>> from unittest import mock
      >>> with mock.patch.dict("os.environ", DEEPLAB_CACHE=tempfile.mkdtemp()):
      ...     path = cache.cache_dir() / "downloads" / "letters" / "a.txt"
      ...     _ = cache.publish(path, lambda partial: partial.write_bytes(b"abc"))
      ...     remove(kept()), kept()
      (3, [])
    """
    total = 0
    for one in some:
        if one.path.is_dir():
            shutil.rmtree(one.path)
        else:
            one.path.unlink()
        total += one.nbytes
    return total
