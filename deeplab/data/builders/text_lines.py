"""A user's own text files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from deeplab.data.builders.base import TextSet
from deeplab.data.originals import Content
from deeplab.errors import UserError

_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class TextLines(TextSet):
    r"""Plain text: one file, or all `*.txt` files of a folder one after another, each ended by a line break.

    A folder with `train.txt` and `validation.txt` (and `test.txt`) is split so. Otherwise the last lines are for
    validation, from the first line break after `1 - validation` of the bytes.

    Args:
      path: of a file or a folder.
      validation: fraction of the bytes.

    Example:
      >>> import deeplab as dl
      >>> dl.data.Text(dl.data.text_lines(getfixture("tmp_path") / "novel.txt")).vocab_size
      256
    """

    path: str | Path
    validation: float = 0.1
    name: str = "text_lines"
    citation: str = ""

    @property
    def version(self) -> str:
        """Tells one state of the files from another, so that a changed file is prepared anew."""
        listing = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in self._files]
        return hashlib.sha256(repr((listing, self.validation)).encode()).hexdigest()[:16]

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(text) for split, text in self._texts.items()}

    def read(self, split: str, content: Content) -> bytes:
        return self._texts[split]

    @functools.cached_property
    def _files(self) -> tuple[Path, ...]:
        path = Path(self.path).expanduser()
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise UserError(f"{path} is no text file and no folder with *.txt files")
        return tuple(files)

    @functools.cached_property
    def _texts(self) -> dict[str, bytes]:
        texts = {file.stem: file.read_bytes() for file in self._files}
        if {"train", "validation"} <= texts.keys():
            return {split: texts[split] for split in _SPLITS if split in texts}
        whole = b"".join(text if text.endswith(b"\n") else text + b"\n" for text in texts.values())
        border = whole.find(b"\n", int(len(whole) * (1 - self.validation))) + 1 or len(whole)
        return {"train": whole[:border], "validation": whole[border:]}
