"""A user's own text files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from deeplab.core.errors import UserError
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import TextSet

_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class TextLines(TextSet):
    """Plain text: one file, or all `*.txt` files of a folder, concatenated in the order of their names.

    A folder with `train.txt` and `validation.txt` (and `test.txt`) is split accordingly. Otherwise the last lines are
    the validation split, from the first line break after `1 - validation` of the bytes.

    Args:
      path: File or folder.
      validation: Fraction of the bytes for validation.

    Raises:
      UserError: there is no such file, and no folder with such files.
    """

    path: str | Path
    validation: float = 0.1
    name: str = "text_lines"
    citation: str = ""

    @property
    def version(self) -> str:
        """Digest of the files' names, sizes and times, so that a changed file is prepared anew."""
        listing = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in self._files]
        return hashlib.sha256(repr((listing, self.validation)).encode()).hexdigest()[:16]

    @functools.cached_property
    def splits(self) -> Mapping[str, int]:
        sizes = {file.stem: file.stat().st_size for file in self._files}
        if self._split_by_name:
            return {split: sizes[split] for split in _SPLITS if split in sizes}
        total = sum(sizes.values())
        at = start = int(total * (1 - self.validation))
        for file in self._files:
            if at < file.stat().st_size:
                with file.open("rb") as stream:
                    stream.seek(at)
                    train = start + len(stream.readline())
                return {"train": train, "validation": total - train}
            at -= file.stat().st_size
        return {"train": total, "validation": 0}

    def read(self, split: str, content: Content) -> bytes:
        if self._split_by_name:
            return next(file for file in self._files if file.stem == split).read_bytes()
        text, train = b"".join(file.read_bytes() for file in self._files), self.splits["train"]
        return text[:train] if split == "train" else text[train:]

    @property
    def _split_by_name(self) -> bool:
        return {"train", "validation"} <= {file.stem for file in self._files}

    @functools.cached_property
    def _files(self) -> tuple[Path, ...]:
        path = Path(self.path).expanduser()
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise UserError(f"{path} is no text file and no folder with *.txt files")
        return tuple(files)
