"""The cache of downloaded, unpacked and decoded files, each complete or absent.

Everything is written to a neighboring path and then renamed, so that a kill at any moment leaves nothing incomplete
under the final name. Arrays carry SHA-256 digests, which are verified when they are first opened.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from deeplab.core.errors import UserError

_ELSEWHERE = "set DEEPLAB_CACHE to a folder that can be written"
_INDEX = "arrays.json"
_BLOCK = 2**22  # bytes per digest: small enough to name damaged examples, large enough to hash at full speed


def cache_dir() -> Path:
    """`$DEEPLAB_CACHE`, else `~/.cache/deeplab`.

    Example:
      >>> from unittest import mock
      >>> with mock.patch.dict(os.environ, DEEPLAB_CACHE="~/elsewhere"):
      ...     cache_dir() == Path.home().resolve() / "elsewhere"
      True
    """
    return Path(os.environ.get("DEEPLAB_CACHE") or "~/.cache/deeplab").expanduser().resolve()


def publish(path: Path, write: Callable[[Path], None]) -> Path:
    """Makes `path`, a file or a folder, unless it exists: `write(partial)` fills a neighbor that is then renamed.

    Of several processes one writes and the others wait. The lock ends with its process, so the process that holds it
    may remove what a killed one left behind.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "answer.txt")
      >>> publish(path, lambda partial: partial.write_text("42", encoding="utf-8")) == path
      True
      >>> _ = publish(path, lambda partial: partial.write_text("43", encoding="utf-8"))  # it is there already
      >>> path.read_text(encoding="utf-8")
      '42'
    """
    if path.exists():
        return path
    partial = path.with_name(f".partial-{path.name}")
    with _locked(path.with_name(f".lock-{path.name}")):
        if not path.exists():
            _remove(partial)
            try:
                write(partial)
                partial.rename(path)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise UserError(f"no space to prepare {path} ({error}); {_ELSEWHERE}") from error
                raise
            finally:
                _remove(partial)
    return path


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {error.filename or path} ({error.strerror}); {_ELSEWHERE}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def arrays(folder: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The memory-mapped arrays of `folder`, made first if it does not exist.

    Raises:
      UserError: an array differs from what was written; the message names the file and the examples.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp(), "numbers")
      >>> mapped = arrays(folder, lambda: {"x": np.arange(3)})["x"]
      >>> type(mapped).__name__, mapped.tolist(), sorted(path.name for path in folder.iterdir())
      ('memmap', [0, 1, 2], ['arrays.json', 'x.npy'])
    """

    def write(partial: Path) -> None:
        made = make()
        partial.mkdir()
        index = {}
        for name, array in made.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
            index[name] = {"shape": array.shape, "dtype": array.dtype.name, "sha256": _digests(array)}
        (partial / _INDEX).write_text(json.dumps(index), encoding="utf-8")

    publish(folder, write)
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        return {name: _open(folder / f"{name}.npy", (folder / f"{name}.npy").stat().st_mtime_ns) for name in index}
    except (OSError, ValueError) as error:
        raise _damaged(folder, str(error)) from error


@functools.cache
def _open(path: Path, mtime: int) -> np.ndarray:
    """Maps one array and verifies it, once per process; again when `mtime` says that the file was rewritten."""
    expected = json.loads((path.parent / _INDEX).read_text(encoding="utf-8"))[path.stem]
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if [list(array.shape), array.dtype.name] != [expected["shape"], expected["dtype"]]:
        given = f"{array.dtype}{list(array.shape)}"
        raise _damaged(path, f"it holds {given}, expected {expected['dtype']}{expected['shape']}")
    rows = _rows(array)
    for block, (got, want) in enumerate(zip(_digests(array), expected["sha256"], strict=True)):
        if got != want:
            first, last = block * rows, min((block + 1) * rows, len(array)) - 1
            raise _damaged(path, f"examples {first} to {last} have sha256 {got[:12]}..., expected {want[:12]}...")
    return array


def checksums(array: np.ndarray) -> list[str]:
    """SHA-256 digests of the blocks of an array; those of its file, without reading it, if the cache holds it.

    Example:
      >>> checksums(np.array([1, 2], np.uint8)) == [hashlib.sha256(bytes([1, 2])).hexdigest()]
      True
    """
    path = Path(getattr(array, "filename", None) or "array")
    if (index := path.with_name(_INDEX)).exists():
        known = json.loads(index.read_text(encoding="utf-8")).get(path.stem, {})
        if (known.get("shape"), known.get("dtype")) == (list(array.shape), array.dtype.name):
            return known["sha256"]
    return _digests(array)


def _damaged(path: Path, what: str) -> UserError:
    folder = path.parent if path.suffix == ".npy" else path
    return UserError(f"{path} is damaged ({what}); delete the folder {folder} and run again: it is then prepared anew")


def _rows(array: np.ndarray) -> int:
    """Number of rows that one digest covers."""
    return max(1, _BLOCK // max(1, array.nbytes // max(1, len(array))))


def _digests(array: np.ndarray) -> list[str]:
    rows = _rows(array)
    blocks = (np.ascontiguousarray(array[i : i + rows]) for i in range(0, len(array), rows))
    return [hashlib.sha256(block.reshape(-1).view(np.uint8).data).hexdigest() for block in blocks]
