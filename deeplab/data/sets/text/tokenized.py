"""Texts of another set, as the tokens of a model that was trained elsewhere."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Source
from deeplab.data.prepare import cache, texts
from deeplab.data.sets.base import ExampleSet, check_split
from deeplab.data.sets.fields import Field


@dataclasses.dataclass(frozen=True)
class Tokenized(ExampleSet):
    """Another set whose field `text` is read by a tokenizer: `tokens` [T], with special tokens, padded at the end.

    The cache keeps the tokens of each tokenizer, by its content.

    Args:
      dataset: Set with a field `text` of bytes: UTF-8, or else Latin-1, padded with zeros or blanks.
      tokenizer: Function that opens a `tokenizers.Tokenizer`, such as `dl.hub.tokenizer(FOLDER)`; called when the set
        is opened.
      vocab_size: Number of tokens that the model knows.
      length: T, number of tokens of an example; longer texts are cut, and keep their last special token.
      padding: Token that stands for padding.

    Raises:
      UserError: The set has no field `text`, or the tokenizer has more tokens than the model.

    Example:
      >>> from deeplab.data.sets.text.sentences import Sentences
      >>> read = Tokenized(Sentences("trec"), lambda: None, vocab_size=30_522, length=64)
      >>> read.fields["tokens"].shape, dict(read.splits)
      ((64,), {'train': 5452, 'test': 500})
    """

    dataset: ExampleSet
    tokenizer: Callable[[], Any]
    vocab_size: int
    length: int = 64
    padding: int = 0
    cached: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if "text" not in self.dataset.fields:
            known = ", ".join(self.dataset.fields)
            raise UserError(f"{self.dataset.name} has no field 'text' to tokenize, only {known}")
        for name in ("citation", "files", "class_names"):
            object.__setattr__(self, name, getattr(self.dataset, name))
        object.__setattr__(self, "name", f"{self.dataset.name}_tokens")

    @functools.cached_property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return f"{self.dataset.version}-{hashlib.sha256(self._read.to_str().encode()).hexdigest()[:16]}"

    @property
    def splits(self) -> Mapping[str, int]:
        return self.dataset.splits

    @property
    def fields(self) -> Mapping[str, Field]:
        return {**self.dataset.fields, "tokens": Field((self.length,), "int32", 0, self.vocab_size)}

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        check_split(self, split)
        source = self.dataset.open(split, data_dir)

        def make() -> dict[str, np.ndarray]:
            arrays = {**source.arrays, "tokens": self._tokens([_text(row) for row in source.arrays["text"]])}
            self.check(split, arrays)
            return arrays

        return Source(source.size, cache.arrays(cache.cache_dir() / self.name / self.version / split, make))

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Each line of a UTF-8 text that is not blank, named FILE:LINE."""
        lines = {n: line for n, line in enumerate(texts.read(path).split("\n"), start=1) if line.strip()}
        if not lines:
            raise UserError(f"{path} holds no words; a line is a text")
        for number, tokens in zip(lines, self._tokens(list(lines.values())), strict=True):
            yield f"{path.name}:{number}", {"tokens": tokens}

    @functools.cached_property
    def _read(self) -> Any:
        """The tokenizer, which cuts texts at `length`, and pads none."""
        tokenizer = self.tokenizer()
        if (size := tokenizer.get_vocab_size()) > self.vocab_size:
            raise UserError(
                f"the tokenizer has {size:,} tokens, the model {self.vocab_size:,}; give those of one model"
            )
        tokenizer.enable_truncation(self.length)
        tokenizer.no_padding()
        return tokenizer

    def _tokens(self, read: Sequence[str]) -> np.ndarray:
        """Tokens, [N, T]."""
        tokens = np.full((len(read), self.length), self.padding, np.int32)
        for row, encoding in zip(tokens, self._read.encode_batch(read), strict=True):
            row[: len(encoding.ids)] = encoding.ids
        return tokens


def _text(row: np.ndarray) -> str:
    raw = row.tobytes().rstrip(b"\0 ")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
