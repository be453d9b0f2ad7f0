"""A user's own text files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.data.prepare import folders, texts
from deeplab.data.prepare.folders import SPLITS
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import TextSet

_FORMAT = 2  # of the prepared copies; raised when the same files are read otherwise


@dataclasses.dataclass(frozen=True)
@ranges.checked(validation=ranges.RATE)
class TextLines(TextSet):
    """Plain text: one file, or all `*.txt` files of a folder, concatenated in the order of their names.

    Files are UTF-8. A byte-order mark is left out, lines may end in any way (see `prepare.texts.decode`), and each file
    begins a line. Characters are not normalized.

    A folder with `train.txt` and `val.txt` (or `valid.txt`, `validation.txt`) or `test.txt` is split accordingly.
    Otherwise the last lines are the validation split, from the first line break after `1 - validation` of the bytes.

    Args:
      path: File or folder.
      validation: Fraction of the bytes for validation, in [0, 1).

    Raises:
      UserError: a fraction outside [0, 1), no such file and no folder with such files, or a file that is no UTF-8 text.

    Example:
      >>> import pathlib, tempfile
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "novel.txt"
      >>> _ = file.write_text("Call me Ishmael.\\n" * 20, encoding="utf-8")
      >>> sorted(TextLines(file).splits)
      ['train', 'validation']
    """

    if_empty: ClassVar[str] = (
        "validation has the lines after the first line break in the last part of the text: break the text into lines, "
        "give a larger validation=, or files train.txt and val.txt"
    )
    path: str | Path
    validation: float = 0.1
    name: str = "text_lines"
    citation: str = ""

    @property
    def version(self) -> str:
        """Digest of the files' names, sizes and times, so that a changed file is prepared anew."""
        return hashlib.sha256(repr((_FORMAT, self._listing, self.validation)).encode()).hexdigest()[:16]

    @property
    def splits(self) -> Mapping[str, int]:
        return _sizes(self, self._listing)

    def read(self, split: str, content: Content) -> bytes:
        if self._named:
            return texts.read(self._named[split]).encode()
        text, train = self._text(), self.splits["train"]
        return text[:train] if split == "train" else text[train:]

    def _text(self) -> bytes:
        """The text of all files."""
        *first, last = [texts.read(file) for file in self._files]
        return ("".join(text if text.endswith("\n") or not text else text + "\n" for text in first) + last).encode()

    @property
    def _listing(self) -> tuple[tuple[str, int, int], ...]:
        stats = [(str(path.resolve()), path.stat()) for path in self._files]
        return tuple((path, status.st_size, status.st_mtime_ns) for path, status in stats)

    @functools.cached_property
    def _named(self) -> dict[str, Path]:
        """The file of each split, where the files are named so."""
        found: dict[str, Path] = {}
        for file in self._files:
            if (split := SPLITS.get(file.stem.lower())) in found:
                raise UserError(f"{found[split]} and {file} are both the split {split!r}; keep one")
            if split is not None:
                found[split] = file
        if "train" not in found or len(found) < 2:
            return {}
        folders.tell(self.path, "files are of no split, and are left out", sorted({*self._files} - {*found.values()}))
        return {split: found[split] for split in ("train", "validation", "test") if split in found}

    @functools.cached_property
    def _files(self) -> tuple[Path, ...]:
        path = Path(self.path).expanduser()
        files = [path]
        if path.is_dir():
            files = [file for file in folders.children(path) if file.suffix.lower() == ".txt" and file.is_file()]
            below = [file for file in folders.files(path) if file.suffix.lower() == ".txt" and file not in files]
            folders.tell(self.path, "text files lie in folders below, and are left out", below)
        if not files or not all(file.is_file() for file in files):
            raise UserError(f"{path} is no text file and no folder with *.txt files")
        return tuple(files)


@functools.cache
def _sizes(dataset: TextLines, listing: tuple[tuple[str, int, int], ...]) -> Mapping[str, int]:
    """Bytes of each split, counted once per process, and again when `listing` says that a file was rewritten."""
    del listing
    if dataset._named:
        return {split: len(texts.read(file).encode()) for split, file in dataset._named.items()}
    text = dataset._text()
    at = int(len(text) * (1 - dataset.validation))
    train = text.find(b"\n", at) + 1 or len(text)
    return {"train": train, "validation": len(text) - train}
