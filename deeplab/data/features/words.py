"""Sentences as words, and words as bags of features: the word itself and its character n-grams."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError

PADDING, UNKNOWN, _FIRST = 0, 1, 2
"""Feature of the padding, of a word outside the vocabulary, and of the vocabulary's first word."""

_NGRAMS = (3, 4, 5)
_CLITIC = re.compile(r"(n't|'(?:s|m|d|ll|re|ve))\b")
_WORD = re.compile(r"n't|'(?:s|m|d|ll|re|ve)\b|\w+|[^\w\s]")


def split_words(text: str) -> list[str]:
    """Lower-case words and punctuation marks; contractions are split as in the Penn Treebank.

    Example:
      >>> split_words("It's well-made, but isn't funny.")
      ['it', "'s", 'well', '-', 'made', ',', 'but', 'is', "n't", 'funny', '.']
    """
    return _WORD.findall(_CLITIC.sub(r" \1", text.lower()))


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """Numbers the features of words: the word's own, then its hashed character n-grams, n = 3 to 5.

    The n-grams are those of "<word>". A word outside the vocabulary has the feature `UNKNOWN`, and still its n-grams:
    "unwatchable" shares many with "watchable".

    Args:
      words: Vocabulary; word k has the feature 2 + k.
      num_words: Features reserved for words, `PADDING` and `UNKNOWN` among them; at least 2 + len(words).
      num_buckets: Features that n-grams are hashed to, from `num_words` on.
      num_features: Largest number of features F of one word; n-grams beyond, the longest first, are left out.

    Example:
      >>> lexicon = Lexicon(("a", "cat"), num_words=8, num_buckets=100, num_features=4)
      >>> [len(lexicon.features(word)) for word in ("a", "cat")], lexicon.features("dog")[0]
      ([2, 4], 1)

    Source: Bojanowski et al. 2017, https://arxiv.org/abs/1607.04606, section 3.2.
    """

    words: Sequence[str]
    num_words: int
    num_buckets: int
    num_features: int

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], num_words: int, num_buckets: int, num_features: int) -> Lexicon:
        """The most frequent words of the training sentences."""
        counts = collections.Counter(word for sentence in sentences for word in sentence)
        words = [word for word, _ in counts.most_common(num_words - _FIRST)]
        return cls(tuple(words), num_words, num_buckets, num_features)

    @functools.cached_property
    def _number(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.words, start=_FIRST)}

    def knows(self, word: str) -> bool:
        """Whether the vocabulary holds the word."""
        return word in self._number

    def features(self, word: str) -> list[int]:
        """The features of one word, at most F."""
        marked = f"<{word}>"
        grams = [marked[i : i + n] for n in _NGRAMS for i in range(len(marked) - n + 1)][: self.num_features - 1]
        hashed = [self.num_words + zlib.crc32(gram.encode()) % self.num_buckets for gram in grams]
        return [self._number.get(word, UNKNOWN), *hashed]

    def encode(self, sentences: Sequence[Sequence[str]], length: int) -> np.ndarray:
        """Features [N, T, F] uint16 of the first T = `length` words of each sentence, padded with zeros.

        Raises:
          UserError: there are more features than 16 bits can number.
        """
        if self.num_words + self.num_buckets > 2**16:
            raise UserError(
                f"{self.num_words} words and {self.num_buckets} buckets of n-grams are more than the 65536 features "
                "that 16 bits can number; lower one of them"
            )
        known: dict[str, np.ndarray] = {}
        out = np.full((len(sentences), length, self.num_features), PADDING, np.uint16)
        for n, sentence in enumerate(sentences):
            for t, word in enumerate(sentence[:length]):
                if word not in known:
                    known[word] = np.array(self.features(word), np.uint16)
                out[n, t, : len(known[word])] = known[word]
        return out


def forget_words(rate: float | jax.Array) -> Callable[[dict[str, Any], jax.Array | None], dict[str, Any]]:
    """A `prepare`: in training, each word of `tokens` [T, F] becomes `UNKNOWN` with probability `rate`.

    The word keeps its n-grams, so that a model learns to use those of words outside the vocabulary. `rate` may be a
    tracer.

    Example:
      >>> forgotten = forget_words(1.0)({"tokens": jnp.array([[7, 9], [0, 0]])}, jax.random.key(0))
      >>> forgotten["tokens"].tolist()
      [[1, 9], [0, 0]]

    Source: Iyyer et al. 2015, https://aclanthology.org/P15-1162, section 3.2 (where the words are dropped).
    """

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        if key is None:
            return example
        tokens = example["tokens"]
        forgotten = (tokens[:, 0] != PADDING) & (jax.random.uniform(key, tokens.shape[:1]) < rate)
        return example | {"tokens": tokens.at[:, 0].set(jnp.where(forgotten, UNKNOWN, tokens[:, 0]))}

    return prepare
