"""The source code of Python's standard library: text that every machine has."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import TextSet

_SKIP = {
    "__pycache__", "dist-packages", "site-packages", "test", "tests",
    "encodings", "pydoc_data",  # tables and pasted text rather than code
    "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip",  # left out by some distributions
}  # fmt: skip
_LIMIT = 4_000_000  # bytes


@dataclasses.dataclass(frozen=True)
class PythonStdlib(TextSet):
    """The first 4 MB of the standard library's modules, in alphabetical order of their paths.

    The text and its size depend on the version of Python; the size is a sum of file sizes, found in milliseconds. The
    last tenth, in whole modules, is the validation split.
    """

    name: str = "python_stdlib"
    citation: str = "Python Software Foundation: the Python standard library. https://github.com/python/cpython"

    @property
    def version(self) -> str:
        """Digest of the files' names and sizes, and of Python's release."""
        listing = [sys.version, *((str(path), size) for path, size in _modules())]
        return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]

    @property
    def splits(self) -> Mapping[str, int]:
        sizes = np.cumsum([size for _, size in _modules()])
        train = int(sizes[np.searchsorted(sizes, 0.9 * sizes[-1])])
        return {"train": train, "validation": int(sizes[-1]) - train}

    def read(self, split: str, content: Content) -> bytes:
        text = b"".join(_root().joinpath(path).read_bytes() for path, _ in _modules())
        train = self.splits["train"]
        return text[:train] if split == "train" else text[train:]


def _root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


@functools.cache
def _modules() -> tuple[tuple[Path, int], ...]:
    """Paths under the library's folder, with sizes, up to the limit."""
    modules, total = [], 0
    for path in _walk(_root()):
        size = path.stat().st_size
        if total + size > _LIMIT:
            break
        modules.append((path.relative_to(_root()), size))
        total += size
    if not modules:
        raise UserError(f"{_root()} holds no .py files: install Python's standard library as source")
    return tuple(modules)


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in _SKIP:
            yield from _walk(path)
        elif path.suffix == ".py":
            yield path


PYTHON_STDLIB = PythonStdlib()
