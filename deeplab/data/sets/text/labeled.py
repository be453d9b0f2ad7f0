"""Labeled texts, each padded to a fixed number of words, and each word a bag of features."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deeplab.core import blocks
from deeplab.core.blocks.examples import decoded
from deeplab.core.errors import UserError
from deeplab.data.features.words import Lexicon, split_words
from deeplab.data.prepare import texts
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field


class LabeledText(ExampleSet):
    """Texts as `tokens` [L, F], `label`, and `text`, the first bytes as they are, for display.

    Attributes:
      num_words: Number of features for words; see `Lexicon`.
      num_buckets: Number of features for character n-grams.
      num_features: Largest number of features F of a word; 1 leaves the n-grams out.
    """

    num_words: int
    num_buckets: int
    num_features: int
    _shown: ClassVar[Field]

    @property
    @abc.abstractmethod
    def max_words(self) -> int:
        """Words L that are stored of a text; the others are cut."""

    @abc.abstractmethod
    def lexicon(self, data_dir: str | Path | None = None) -> Lexicon:
        """The vocabulary of the training part."""

    @property
    def table_size(self) -> int:
        """Total number of features: rows of a model's embedding table."""
        return self.num_words + self.num_buckets

    @property
    def fields(self) -> Mapping[str, Field]:
        tokens = Field((self.max_words, self.num_features), "uint16", 0, self.table_size)
        return {"tokens": tokens, "label": Field((), "int32", 0, len(self.class_names)), "text": self._shown}

    def encoded(self, labels: Sequence[int], texts: Sequence[str], shown: bytes, words: Lexicon) -> dict[str, Any]:
        """The fields of labeled texts, of which `shown` are the bytes to display, each padded."""
        return {
            "tokens": words.encode([split_words(text) for text in texts], self.max_words),
            "label": np.array(labels, np.int32),
            "text": np.frombuffer(shown, np.uint8).reshape(len(texts), *self._shown.shape),
        }

    def texts_of(self, path: Path) -> dict[str, str]:
        """The texts of a user's file, by name: the lines that are not blank, named FILE:LINE."""
        return {f"{path.name}:{number}": line for number, line in texts.lines(path).items()}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Each text of a user's file, without a label; see `texts_of`.

        A text without any word of the vocabulary is classified by its character n-grams alone, and its name says so.
        """
        sentences = {name: words for name, text in self.texts_of(path).items() if (words := split_words(text))}
        if not sentences:
            raise UserError(f"{path} holds no words; a line is a sentence")
        lexicon = self.lexicon(data_dir)
        for name, words in sentences.items():
            mark = "" if any(map(lexicon.knows, words)) else " (no known word)"
            yield f"{name}{mark}", {"tokens": lexicon.encode([words], self.max_words)[0]}

    def rewritten(
        self, batch: Mapping[str, Any], change: Callable[[str, int], str], data_dir: str | Path | None = None
    ) -> dict[str, Any]:
        """A raw batch with other texts: what `(text, id) -> text` makes of those to display, and their tokens.

        Args:
          batch: Raw batch, of the fields and `id`.
          change: Function of a text and the number of its example.
          data_dir: Folder with the original files.
        """
        texts = [change(decoded(row), int(i)) for row, i in zip(batch["text"], batch["id"], strict=True)]
        encoded = self.lexicon(data_dir).encode([split_words(text) for text in texts], self.max_words)
        return {**batch, "tokens": encoded}

    def show(self, batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[blocks.Card]:
        """Texts with their labels and predictions, for a report; nothing where there is no prediction of a class."""
        told = {"prediction", "probability"} <= predictions.keys()
        return blocks.sentences(self.class_names, batch, predictions) if told else []
