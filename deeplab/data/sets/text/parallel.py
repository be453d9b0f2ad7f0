"""Pairs of a text and its translation, as tokens of one vocabulary for both languages."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core import blocks
from deeplab.core.errors import UserError
from deeplab.data.features.vocab import BPE
from deeplab.data.prepare import cache, originals, texts
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field

PADDING, BEGIN, END = 0, 1, 2
_FIRST = 3  # number of the vocabulary's first token
_BYTES = 256  # the vocabulary's first tokens are the bytes
_SIDES = ("source", "target")


class ParallelText(ExampleSet):
    """Tokens of both sides, with `END` after the last and padded with 0, their lengths, and both texts.

    An example holds `source`, `source_length` and `source_text`, UTF-8 padded with zeros, and the same of the target.
    Tokens are byte-pair merges, trained on the training part of both languages together, so that any text has tokens.

    Attributes:
      vocab_size: Size of the vocabulary, with `PADDING`, `BEGIN` and `END`.
      lower: Whether tokens are of the text in lower case.
    """

    vocab_size: int
    lower: bool = True

    @property
    @abc.abstractmethod
    def max_tokens(self) -> int:
        """Tokens L of a text with `END`; a longer text is cut."""

    @property
    @abc.abstractmethod
    def max_bytes(self) -> int:
        """Bytes of a text that are stored."""

    @property
    @abc.abstractmethod
    def vocabulary_path(self) -> Path:
        """File of the vocabulary in the cache."""

    @abc.abstractmethod
    def lines(self, split: str, content: Content) -> tuple[Sequence[str], Sequence[str]]:
        """The texts of a split and their translations, [N] each."""

    @abc.abstractmethod
    def training_lines(self, content: Content) -> Sequence[str]:
        """The texts that the vocabulary is made from."""

    @property
    def fields(self) -> Mapping[str, Field]:
        tokens = Field((self.max_tokens,), "uint16", 0, self.vocab_size)
        length, text = Field((), "int32", 1, self.max_tokens + 1), Field((self.max_bytes,), "uint8")
        return {
            "source": tokens, "source_length": length, "source_text": text,
            "target": tokens, "target_length": length, "target_text": text,
        }  # fmt: skip

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        vocabulary, width = self._vocabulary(content), self.max_bytes
        arrays = {}
        for side, lines in zip(_SIDES, self.lines(split, content), strict=True):
            tokens, lengths = self._encode(lines, vocabulary)
            padded = b"".join(line.encode()[:width].ljust(width, b"\0") for line in lines)
            text = np.frombuffer(padded, np.uint8).reshape(len(lines), width)
            arrays |= {side: tokens, f"{side}_length": lengths, f"{side}_text": text}
        return arrays

    def texts_of(self, path: Path) -> dict[str, str]:
        """The texts of a user's file, by name: the lines that are not blank, named FILE:LINE."""
        return {f"{path.name}:{number}": line for number, line in texts.lines(path).items()}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Each text of a user's file, with a remark in its name where it cannot be translated well; see `texts_of`.

        A text without any merged token, such as one in another script, is spelled byte by byte, and its translation is
        meaningless. A text of more than L - 1 tokens is cut.
        """
        sentences = self.texts_of(path)
        if not sentences:
            raise UserError(f"{path} holds no sentence; a line is a sentence")
        vocabulary = self._vocabulary(originals.contents(self.name, self.files, data_dir))
        for name, line in sentences.items():
            tokens, length = self._encode([line], vocabulary)
            whole = len(vocabulary.encode_lines([self.plain(line)])[0])
            known = (tokens[0, : length[0] - 1] >= _FIRST + _BYTES).any()
            marks = [] if known else ["no known token"]
            marks += [f"cut to {self.max_tokens - 1} tokens"] if whole >= self.max_tokens else []
            mark = f" ({', '.join(marks)})" if marks else ""
            yield f"{name}{mark}", {"source": tokens[0], "source_length": length[0]}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {"translation": self.text(prediction["prediction"]), "log_prob": float(prediction["log_prob"])}

    def show(self, batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[blocks.Card]:
        """Translations beside their references, for a report; nothing where nothing is translated."""
        told = {"prediction", "attention"} <= predictions.keys()
        return blocks.translations(self.text, batch, predictions) if told else []

    def text(self, tokens: Sequence[int] | np.ndarray) -> str:
        """Tokens as text, up to the first `END`; as numbers where no vocabulary exists (a smoke run)."""
        tokens = np.asarray(tokens)
        tokens = tokens[: np.append(np.flatnonzero(tokens == END), len(tokens))[0]]
        tokens = tokens[tokens >= _FIRST] - _FIRST
        if not self.vocabulary_path.exists():
            return " ".join(map(str, tokens))
        return self._vocabulary().decode(tokens).strip()

    def plain(self, line: str) -> str:
        """Text with a space before every word, the first too, so that a word has the same tokens everywhere."""
        return " " + " ".join((line.lower() if self.lower else line).split())

    def num_tokens(self, lines: Sequence[str], content: Content) -> np.ndarray:
        """Number of tokens of each text with `END`, [N]."""
        found = self._vocabulary(content).encode_lines([self.plain(line) for line in lines])
        return np.array([len(tokens) + 1 for tokens in found])

    def _encode(self, lines: Sequence[str], vocabulary: BPE) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [N, L] and lengths [N]."""
        tokens = np.full((len(lines), self.max_tokens), PADDING, np.uint16)
        lengths = np.zeros(len(lines), np.int32)
        for n, found in enumerate(vocabulary.encode_lines([self.plain(line) for line in lines])):
            found = found[: self.max_tokens - 1]
            tokens[n, : len(found)] = found + _FIRST
            tokens[n, len(found)] = END
            lengths[n] = len(found) + 1
        return tokens, lengths

    def _vocabulary(self, content: Content | None = None) -> BPE:
        """The vocabulary from the cache; trained first, if it is not there."""

        def write(partial: Path) -> None:
            given = content or originals.contents(self.name, self.files)
            text = "\n".join(map(self.plain, self.training_lines(given)))
            partial.write_text(BPE.train(text, self.vocab_size - _FIRST).definition, encoding="utf-8")

        path = cache.publish(self.vocabulary_path, write)
        return _load(path, path.stat().st_mtime_ns, self.vocab_size - _FIRST)


@functools.cache
def _load(path: Path, mtime: int, size: int) -> BPE:
    """A stored vocabulary, read once per process, and again when `mtime` says that it was rewritten."""
    return BPE(path.read_text(encoding="utf-8"), size)
