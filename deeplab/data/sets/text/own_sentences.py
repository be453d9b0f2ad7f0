"""A user's own labeled texts: a table, a folder of files by class, or lines of a label and a text."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from deeplab.core.errors import UserError, nearest
from deeplab.data.features.words import Lexicon, split_words
from deeplab.data.prepare import frame_sources, text_sources, texts
from deeplab.data.prepare.frames import Frame, ordered
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.fields import Field
from deeplab.data.sets.tabular import splitting
from deeplab.data.sets.text.labeled import LabeledText

_FORMAT = 1  # of the prepared copies; raised when the same files are read otherwise
_TEXT = 480  # bytes of a text that are stored for display
_COVERED = 99  # percent of the training texts that are stored whole


@dataclasses.dataclass(frozen=True)
class OwnSentences(LabeledText):
    """Labeled texts of a user: `tokens` [L, F], `label`, and `text` for display. See
    `sets.text.one_line.sentences`.

    The vocabulary, and L where it is not given, are of the training part alone.
    """

    source: Any
    text: str = "text"
    label: str = "label"
    classes: Sequence[str] = ()
    split: str = ""
    group: str = ""
    test: float = 0.2
    validation: float = 0.0
    fold: int = 0
    seed: int = 0
    length: int | None = None
    missing: Sequence[Any] = ()
    num_words: int = 2**14
    num_buckets: int = 2**14
    num_features: int = 16
    name: str = "sentences"
    citation: str = ""
    _shown: ClassVar[Field] = Field((_TEXT,), "uint8")  # UTF-8, padded with zeros

    def __post_init__(self) -> None:
        for name in ("classes", "missing"):
            if isinstance(given := getattr(self, name), str):
                raise UserError(f"{name} is {given!r}, expected a tuple of names, such as ({given!r},)")
            object.__setattr__(self, name, tuple(map(frame_sources.text_of, given)))
        splitting.shares(self.test, self.validation, self.fold)
        if self.length is not None and self.length < 1:
            raise UserError(f"length is {self.length}, expected 1 or more words")
        if not isinstance(self.source, str | Path | Frame):
            frame = frame_sources.read(self.source, self.missing, plain=True)
            object.__setattr__(self, "source", frame)

    @functools.cached_property
    def frame(self) -> Frame:
        """The columns as they were given."""
        if isinstance(self.source, Frame):
            return self.source
        path = Path(self.source).expanduser()
        if path.is_dir():
            return text_sources.of_folder(path)
        if text_sources.is_text(path):
            return text_sources.of_lines(path)
        return frame_sources.read(path, self.missing, plain=True)

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        own = [getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "source"]
        return hashlib.sha256(repr((_FORMAT, self.frame.digest, own)).encode()).hexdigest()[:16]

    @property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._made.class_names

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(rows) for split, rows in self._made.rows.items()}

    @property
    def max_words(self) -> int:
        return self.length or self._made.covering

    @property
    def notes(self) -> tuple[str, ...]:
        """What one may want to know of what was read, such as how many texts are cut."""
        made, most = self._made, self.max_words
        cut = sum(int((made.sizes[rows] > most).sum()) for rows in made.rows.values())
        untaught = [name for k, name in enumerate(made.class_names) if k not in made.labels[made.rows["train"]]]
        return (
            f"{most:,} words of a text are read; {cut:,} of {len(made.sizes):,} texts are longer, and cut",
            *(f"class {name!r} has no text to train on" for name in untaught),
        )

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        made, rows = self._made, self._made.rows[split]
        texts = [made.texts[row] for row in rows]
        shown = b"".join(text.encode()[:_TEXT].decode(errors="ignore").encode().ljust(_TEXT, b"\0") for text in texts)
        return self.encoded(made.labels[rows].tolist(), texts, shown, self.lexicon())

    def lexicon(self, data_dir: str | Path | None = None) -> Lexicon:
        return _lexicon(self, self.frame)

    def texts_of(self, path: Path) -> dict[str, str]:
        """The texts of a user's file: the cells of a column, the lines (after a tab, if they have one), or the
        whole file where the texts are files."""
        if not text_sources.is_text(path):
            frame = frame_sources.read(path, self.missing, plain=True)
            cells = frame.texts(frame.check(self.text, "the text"))
            return {f"{path.name}:{row}": cell for row, cell in enumerate(cells, start=1) if cell is not None}
        if not isinstance(self.source, Frame) and Path(self.source).expanduser().is_dir():
            return {path.name: texts.read(path)}
        return {name: line.partition("\t")[2] or line for name, line in super().texts_of(path).items()}

    @property
    def _made(self) -> _Made:
        return _made(self, self.frame)


class _Made(NamedTuple):
    """What was read.

    Attributes:
      texts: All texts.
      labels: Number of the class of each, [N].
      class_names: Names of the classes.
      rows: Rows of each split.
      sizes: Number of words of each text, [N].
      covering: Number of words that all but one in a hundred training texts have at most.
    """

    texts: list[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    rows: splitting.Rows
    sizes: np.ndarray
    covering: int


@functools.lru_cache(maxsize=8)
def _made(dataset: OwnSentences, frame: Frame) -> _Made:
    """Reads the columns, and keeps them: a function of hyper-parameters is called often."""
    for name, what in ((dataset.text, "the text"), (dataset.label, "the label"), (dataset.split, "the split"),
                       (dataset.group, "the group")):  # fmt: skip
        if name:
            frame.check(name, what)
    for name in (dataset.text, dataset.label):
        if gone := np.flatnonzero(frame.missing(name)).tolist():
            raise UserError(f"{frame.at(name, gone[0])}: empty ({len(gone):,} such rows); remove them, or fill them in")
    found = [str(text) for text in frame.texts(dataset.text)]
    sizes = np.array([len(split_words(text)) for text in found])
    if len(blank := np.flatnonzero(sizes == 0)):
        row = int(blank[0])
        raise UserError(f"{frame.at(dataset.text, row)}: {found[row]!r} holds no word ({len(blank):,} such rows)")
    labels, class_names = _labels(dataset, frame)
    shares = splitting.shares(dataset.test, dataset.validation, dataset.fold)
    split = dataset.split or ("split" if "split" in frame.columns and _is_folder(dataset) else "")
    rows = splitting.rows(frame, labels, shares, dataset.fold, dataset.seed, split=split, group=dataset.group)
    covering = math.ceil(np.percentile(sizes[rows["train"]], _COVERED))
    return _Made(found, labels, class_names, rows, sizes, covering)


@functools.lru_cache(maxsize=8)
def _lexicon(dataset: OwnSentences, frame: Frame) -> Lexicon:
    made = _made(dataset, frame)
    sentences = (split_words(made.texts[row]) for row in made.rows["train"])
    return Lexicon.of(sentences, dataset.num_words, dataset.num_buckets, dataset.num_features)


def _labels(dataset: OwnSentences, frame: Frame) -> tuple[np.ndarray, tuple[str, ...]]:
    """The number of the class of each row, and the classes: as told, else in order."""
    cells = [str(cell) for cell in frame.texts(dataset.label)]
    classes = tuple(dataset.classes) or tuple(ordered(cells))
    if len(classes) < 2:
        raise UserError(
            f"column {dataset.label!r} of {frame.where} holds {cells[0]!r} alone, expected two classes or more"
        )
    number = {name: k for k, name in enumerate(classes)}
    for row, cell in enumerate(cells):
        if cell not in number:
            raise UserError(f"{frame.at(dataset.label, row)}: the class {cell!r}; {nearest(cell, classes)}")
    return np.array([number[cell] for cell in cells], np.int32), classes


def _is_folder(dataset: OwnSentences) -> bool:
    return not isinstance(dataset.source, Frame) and Path(dataset.source).expanduser().is_dir()
