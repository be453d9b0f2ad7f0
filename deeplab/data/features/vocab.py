"""Vocabularies: lossless maps between text and token numbers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import texts

_PROBE = "Two  Words,\té\n"
_LINES = 10_000  # lines encoded at a time: the library keeps 100 bytes or more for each token


class Vocabulary(Protocol):
    """A map between text and tokens. Implementations are frozen records.

    Example:
      >>> vocabulary: Vocabulary = Characters("abc")
      >>> tokens, pieces = vocabulary.encode("cab"), vocabulary.pieces()
      >>> vocabulary.size, vocabulary.decode(tokens), b"".join(pieces[token] for token in tokens)
      (3, 'cab', b'cab')
    """

    @property
    def size(self) -> int:
        """Number of tokens; they are 0 to `size` - 1."""
        ...

    @property
    def key(self) -> str:
        """Identity of the vocabulary; the name of a prepared text's folder."""
        ...

    def encode(self, text: str | bytes) -> np.ndarray:
        """Tokens, [N], in the smallest integer type that holds them. Bytes are decoded as UTF-8."""
        ...

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text; an incomplete character becomes U+FFFD."""
        ...

    def pieces(self) -> list[bytes]:
        """The UTF-8 bytes of each token, by number; joined over a text's tokens they give the text."""
        ...


@dataclasses.dataclass(frozen=True)
class Bytes:
    """One token for each UTF-8 byte: any text in any language.

    Example:
      >>> Bytes().decode(Bytes().encode("naïve"))
      'naïve'
    """

    size: int = dataclasses.field(default=256, init=False)
    key: str = dataclasses.field(default="byte", init=False)

    def encode(self, text: str | bytes) -> np.ndarray:
        return np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        return bytes(np.asarray(tokens, np.uint8)).decode(errors="replace")

    def pieces(self) -> list[bytes]:
        return [bytes([byte]) for byte in range(256)]


@dataclasses.dataclass(frozen=True)
class Characters:
    """One token for each character of an alphabet.

    Args:
      characters: Alphabet; token k is its k-th character.

    Example:
      >>> Characters("abc").encode("cab")
      array([2, 0, 1], dtype=uint8)
    """

    characters: str

    @classmethod
    def of(cls, text: str | bytes) -> Characters:
        """The vocabulary of all characters that occur, sorted."""
        return cls("".join(sorted(set(_text(text)))))

    @property
    def size(self) -> int:
        return len(self.characters)

    @property
    def key(self) -> str:
        return f"char-{_digest(self.characters)}"

    def encode(self, text: str | bytes) -> np.ndarray:
        points = _points(_text(text))
        alphabet = _points(self.characters)
        order = np.argsort(alphabet)
        at = np.minimum(np.searchsorted(alphabet, points, sorter=order), len(alphabet) - 1)
        tokens = order[at]
        if (unknown := np.flatnonzero(alphabet[tokens] != points)).size:
            character = chr(points[unknown[0]])
            raise UserError(
                f"character {character!r} (position {unknown[0]}) is not among the {self.size} of the vocabulary "
                f"({self.characters[:40]!r}{'...' if self.size > 40 else ''}); use bytes, or one that holds it"
            )
        return tokens.astype(_smallest(self.size))

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        return "".join(self.characters[token] for token in np.asarray(tokens).tolist())

    def pieces(self) -> list[bytes]:
        return [character.encode() for character in self.characters]


@dataclasses.dataclass(frozen=True)
class BPE:
    """Byte-pair encoding over bytes, as GPT-2's (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909).

    Args:
      definition: Tokenizer of the `tokenizers` library, as JSON.
      size: Number of tokens; more than the tokenizer has when the text had too few pairs to merge.

    Example:
      >>> vocabulary = BPE.train("banana " * 9, size=259)  # the bytes, and three merges
      >>> [vocabulary.pieces()[token] for token in vocabulary.encode("banana")]
      [b'ban', b'ana']
    """

    definition: str = dataclasses.field(repr=False)
    size: int

    @classmethod
    def train(cls, text: str | bytes, size: int) -> BPE:
        """Trains on `text`: merges the most frequent pairs until there are `size` tokens."""
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers, trainers

        if size < 256:
            raise UserError(f"a byte-pair vocabulary of {size} tokens was asked for; expected at least 256, the bytes")
        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        tokenizer.train_from_iterator(_text(text).splitlines(keepends=True), trainer)
        return cls(tokenizer.to_str(), size)

    @classmethod
    def load(cls, path: str | Path) -> BPE:
        """A byte-level tokenizer saved as JSON, such as GPT-2's; special tokens are never added to a text.

        Raises:
          UserError: the file is no tokenizer's JSON, or the tokenizer is not byte-level or changes a text.
        """
        definition = texts.read(Path(path))
        try:
            loaded = cls(definition, cls(definition, 0)._tokenizer.get_vocab_size())
            given, pieces = loaded.encode(_PROBE), loaded.pieces()
        except (UserError, LookupError) as error:
            raise UserError(f"{path} is no byte-level tokenizer ({error}); convert it, or train one") from error
        if (back := b"".join(pieces[token] for token in given.tolist())) != _PROBE.encode():
            raise UserError(
                f"{path} is a tokenizer that changes a text: {_PROBE!r} becomes {back.decode(errors='replace')!r}; "
                "use one without normalization and prefix"
            )
        return loaded

    @property
    def key(self) -> str:
        return f"bpe-{self.size}-{_digest(self.definition)}"

    @functools.cached_property
    def _tokenizer(self) -> Any:
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_str(self.definition)
        except Exception as error:  # the library raises no narrower class
            raise UserError(f"not a tokenizer's JSON: {error}") from error
        tokenizer.no_truncation()  # which a saved tokenizer may ask for, as for special tokens around every line
        tokenizer.no_padding()
        return tokenizer

    def encode(self, text: str | bytes) -> np.ndarray:
        lines = self.encode_lines(_text(text).splitlines(keepends=True))
        return np.concatenate([np.zeros(0, _smallest(self.size)), *lines])

    def encode_lines(self, lines: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each line, [N] each."""
        tokens: list[np.ndarray] = []
        for start in range(0, len(lines), _LINES):
            encodings = self._tokenizer.encode_batch(lines[start : start + _LINES], add_special_tokens=False)
            tokens += [np.array(encoding.ids, _smallest(self.size)) for encoding in encodings]
        return tokens

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        return self._tokenizer.decode(np.asarray(tokens).tolist(), skip_special_tokens=False)

    def pieces(self) -> list[bytes]:
        """The bytes of each token; empty for numbers that the tokenizer does not use."""
        pieces = [b""] * self.size
        for symbols, number in self._tokenizer.get_vocab().items():
            pieces[number] = bytes(map(_byte, symbols))
        return pieces


_UNSEEN = [*range(33), *range(127, 161), 173]  # bytes without a glyph of their own in Latin-1


def _byte(symbol: str) -> int:
    """The byte of a symbol of a byte-level tokenizer: itself in Latin-1, or the n-th byte without a glyph.

    Source: GPT-2, https://github.com/openai/gpt-2/blob/master/src/encoder.py.
    """
    return ord(symbol) if ord(symbol) < 256 else _UNSEEN[ord(symbol) - 256]


def _text(text: str | bytes) -> str:
    try:
        return text if isinstance(text, str) else text.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"the text is not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}; "
            "convert it, or use the vocabulary of bytes"
        ) from error


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)


def _smallest(size: int) -> Any:
    return np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.int32


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
