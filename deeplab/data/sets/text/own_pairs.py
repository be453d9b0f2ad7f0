"""A user's own texts and their translations: two files of lines, or two columns of a table."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import cache, frame_sources, originals
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.tabular import splitting
from deeplab.data.sets.text import parallel_sources
from deeplab.data.sets.text.parallel import ParallelText

_FORMAT = 1  # of the prepared copies; raised when the same files are read otherwise
_COVERED = 99.5  # percent of the training texts that are stored whole
_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class OwnPairs(ParallelText):
    """Texts and their translations, line by line; see `ParallelText` for the fields of an example.

    A pair with a blank side is left out, with a warning. All pairs of an equal source are in one split.

    Args:
      source: Path of a file of lines; or of a table (CSV, TSV, Parquet, or a .txt whose lines hold two texts and a tab
        between), a data frame, or a dict of columns; or a dict with a pair of files or a table for each split.
      target: Path of a file of as many lines, the translations; None for a table.
      columns: Names of the two columns of a table; its only two, or the first two of a .txt, when empty.
      validation: Share of the pairs in the split "validation", or its own two files or table.
      test: Share of the pairs in the split "test", or its own two files or table.
      seed: Seed of the shuffle before the split.
      vocab_size: Size of the vocabulary that both languages share, 3 tokens for padding, begin and end among them.
      length: Tokens L of a text with the end; so many that 99.5 % of the training texts are whole when None.
      lower: Whether tokens are of the text in lower case; then translations are, too.

    Raises:
      UserError: a source cannot be read, two files differ in their number of lines, or a split is empty.

    Example:
      >>> talks = {"en": ["one", "two", "three", "four"], "fr": ["un", "deux", "trois", "quatre"]}
      >>> numbers = OwnPairs(talks, test=0.25, vocab_size=270, length=8)
      >>> dict(numbers.splits), numbers.fields["target"].shape
      ({'train': 3, 'test': 1}, (8,))
    """

    source: Any
    target: str | Path | None = None
    columns: tuple[str, ...] = ()
    validation: Any = 0.0
    test: Any = 0.1
    seed: int = 0
    vocab_size: int = 6144
    length: int | None = None
    lower: bool = True
    name: str = "pairs"
    citation: str = ""

    def __post_init__(self) -> None:
        if not 260 <= self.vocab_size <= 2**16 or (self.length is not None and self.length < 2):
            raise UserError(
                f"vocab_size is {self.vocab_size} and length {self.length}, expected a vocabulary of 260 to 65,536 "
                "tokens, and texts of 2 or more"
            )
        if isinstance(self.columns, str) or len(self.columns) not in (0, 2):
            raise UserError(f'columns is {self.columns!r}, expected the names of two, such as ("en", "fr")')
        object.__setattr__(self, "columns", tuple(self.columns))
        given = self.source
        if isinstance(given, Mapping) and "train" in given:
            given = tuple((split, parallel_sources.normal(part)) for split, part in given.items())
        elif not _is_splits(given):
            given = parallel_sources.normal(given)
        object.__setattr__(self, "source", given)
        for name in ("validation", "test"):
            if not isinstance(share := getattr(self, name), int | float):
                object.__setattr__(self, name, parallel_sources.normal(share))
        shares = self._shares.values()
        if min(shares, default=0) < 0 or sum(shares) >= 1:
            raise UserError(
                f"test is {self.test} and validation {self.validation}, expected shares that leave some for training"
            )

    @property
    def _shares(self) -> dict[str, float]:
        """The splits that are cut from the training texts."""
        if _is_splits(self.source):
            return {}
        shares = {"test": self.test, "validation": self.validation}
        return {split: share for split, share in shares.items() if isinstance(share, int | float) and share}

    @property
    def _parts(self) -> dict[str, Any]:
        """Where the texts of each split are, of those that are not cut from the training texts."""
        if _is_splits(self.source):
            return dict(self.source)
        train = self.source if self.target is None else (str(self.source), str(self.target))
        others = {"validation": self.validation, "test": self.test}
        return {"train": train} | {k: part for k, part in others.items() if not isinstance(part, int | float)}

    @functools.cached_property
    def _made(self) -> _Made:
        return _made(self, tuple(parallel_sources.stamp(part) for part in self._parts.values()))

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(source) for split, (source, _) in self._made.lines.items()}

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return f"{self._made.digest}-{self.vocab_size}-{self.max_tokens}"

    @property
    def max_bytes(self) -> int:
        return self._made.max_bytes

    @property
    def max_tokens(self) -> int:
        if self.length is not None:
            return self.length

        def write(partial: Path) -> None:
            sizes = self.num_tokens(self._made.training, originals.contents(self.name, ()))
            partial.write_text(str(math.ceil(np.percentile(sizes, _COVERED))), encoding="utf-8")

        return int(cache.publish(self.vocabulary_path.with_suffix(".length"), write).read_text(encoding="utf-8"))

    @property
    def vocabulary_path(self) -> Path:
        return cache.cache_dir() / self.name / f"{self._made.digest}-bpe-{self.vocab_size}.json"

    def lines(self, split: str, content: Content) -> tuple[Sequence[str], Sequence[str]]:
        return self._made.lines[split]

    def training_lines(self, content: Content) -> Sequence[str]:
        return self._made.training

    def texts_of(self, path: Path) -> dict[str, str]:
        """The texts of a user's file: its lines, or the cells of the first of `columns`."""
        if path.suffix.lower() not in parallel_sources.TABLES:
            return super().texts_of(path)
        frame = frame_sources.read(path, plain=True)
        column = frame.check(self.columns[0], "the source") if self.columns else next(iter(frame.columns))
        return {f"{path.name}:{i}": cell for i, cell in enumerate(frame.texts(column), start=1) if cell is not None}


class _Made(NamedTuple):
    """What was read.

    Attributes:
      lines: Texts and translations of each split.
      max_bytes: Bytes of the longest text outside the training part; references are compared whole.
      digest: Identity of all texts, as they are tokenized.
    """

    lines: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    max_bytes: int
    digest: str

    @property
    def training(self) -> list[str]:
        """All texts of the training part, of both languages."""
        return [line for lines in self.lines["train"] for line in lines]


@functools.lru_cache(maxsize=4)
def _made(dataset: OwnPairs, stamps: Any) -> _Made:
    """Reads the texts, and keeps them: a function of hyper-parameters is called often. `stamps` tell changed files."""
    del stamps
    lines = {split: parallel_sources.read(part, dataset.columns) for split, part in dataset._parts.items()}
    shares = dataset._shares
    if shares:
        source, target = lines["train"]
        number = {text: i for i, text in enumerate(dict.fromkeys(source))}
        part = splitting.by_group(np.array([number[text] for text in source]), shares, 0, dataset.seed)
        for k, split in enumerate(("train", *shares)):
            rows = np.flatnonzero(part == k)
            lines[split] = [source[row] for row in rows], [target[row] for row in rows]
    for split, (source, _) in lines.items():
        if not source:
            raise UserError(f"split {split!r} of {dataset.name} gets no pair of texts; give more, or other shares")
    order = {split: lines[split] for split in (*_SPLITS, *lines) if split in lines}
    judged = [text for split, both in order.items() if split != "train" for texts in both for text in texts]
    longest = max(len(text.encode()) for text in judged or [text for texts in order["train"] for text in texts])
    digest = hashlib.sha256(repr((_FORMAT, dataset.lower, order)).encode()).hexdigest()[:16]
    return _Made(order, longest, digest)


def _is_splits(given: Any) -> bool:
    return isinstance(given, tuple) and bool(given) and isinstance(given[0], tuple)
