"""Running text as batches of windows."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.data import sets
from deeplab.data.base import Batch, Data, Source, Spec
from deeplab.data.features.vocab import BPE, Bytes, Characters, Vocabulary
from deeplab.data.prepare import cache, originals
from deeplab.data.sets.base import TextSet, check_split
from deeplab.data.sets.synthetic import SyntheticText


@dataclasses.dataclass(frozen=True)
@ranges.checked(context=ranges.COUNT, batch_size=ranges.COUNT, num_steps=ranges.COUNT)
class Text(Data):
    """Batches of `tokens` and `targets` (the tokens one position later), [B, T] int32, and `mask` [B, T] float32.

    Training draws windows of a text of N tokens from all N - T positions where a window and its last target fit; an
    example's id is its position. An evaluation reads consecutive windows, and the id is the window's number. The last
    window is moved back to end with the text, and `mask` is 0 where the one before has counted already, so that each of
    the N - 1 targets counts once. Evaluation batches also hold `words` and `bytes`, [B, T] float32: the number of words
    that begin, and of bytes, in each target, so that a loss can be reported per word or per byte, whatever the tokens.
    Words are separated by blanks, and the end of a line counts as a word.

    Args:
      dataset: Name of a set ("tiny_shakespeare", "python_stdlib", "wikitext2") or a value such as
        `dl.data.text_lines("novel.txt")`.
      vocabulary: "byte", "char", "bpe:SIZE" (trained on the training split) or a value of `features.vocab`. None takes
        characters where the set declares them (tiny_shakespeare), and else bytes.
      context: Length T of a window, in tokens.
      batch_size: Windows of a training or evaluation batch.
      num_steps: Number of training steps.
      eval_split: Split to evaluate on.
      overlap: Whether training windows begin at every position; if not, they follow one another as in an evaluation.

    Raises:
      UserError: unknown set or vocabulary.

    Example:
      >>> data = Text("tiny_shakespeare", context=64)
      >>> data.vocab_size, data.num_examples("train"), data.num_examples("validation")
      (65, 1003790, 1743)
    """

    dataset: str | TextSet
    vocabulary: str | Vocabulary | None = None
    context: int = 64
    batch_size: int = 12
    num_steps: int = 2000
    eval_split: str = "validation"
    overlap: bool = True

    def __post_init__(self) -> None:
        kind = self.vocabulary
        if isinstance(kind, str) and kind not in ("byte", "char") and not _bpe_size(kind):
            raise UserError(
                f"vocabulary is {kind!r}, expected 'byte', 'char', 'bpe:SIZE' (such as bpe:4096) or a value"
            )

    @property
    def builder(self) -> TextSet:
        """The data set itself: its citation, version and files."""
        return sets.text_set(self.dataset)

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary, known without opening the set."""
        return _bpe_size(self.vocabulary) or self.open_vocabulary().size

    def open_vocabulary(self, data_dir: str | Path | None = None) -> Vocabulary:
        """The vocabulary as a value, to encode prompts and decode samples; "bpe:SIZE" is trained on first use."""
        return _vocabulary(self.builder, self.vocabulary, data_dir)

    def num_examples(self, split: str) -> int:
        """Number of windows of a split. The length of a "bpe:SIZE" text is known once it has been prepared."""
        check_split(self.builder, split)
        return self._num_windows(split, self._lengths[split])

    @functools.cached_property
    def _lengths(self) -> Mapping[str, int]:
        """Number of tokens of each split."""
        vocabulary = self.open_vocabulary()
        if isinstance(vocabulary, Bytes) or (isinstance(vocabulary, Characters) and vocabulary.characters.isascii()):
            return self.builder.splits
        return {split: len(tokens) for split, tokens in self._tokens(None).items()}

    def _num_windows(self, split: str, tokens: int) -> int:
        where = f"split {split!r} of {self.builder.name} has {tokens:,} tokens"
        if tokens <= self.context:
            raise UserError(f"{where}, expected more than the context of {self.context}; shorten it, or use more text")
        if tokens > 2**31 - 1:
            raise UserError(f"{where}, expected fewer than 2**31, which int32 can number; use a part of the text")
        return tokens - self.context if self._overlaps(split) else math.ceil((tokens - 1) / self.context)

    def _overlaps(self, split: str) -> bool:
        return split == "train" and self.overlap

    def in_one_pass(self) -> Self:
        return dataclasses.replace(self, overlap=False)

    def spec(self) -> Spec:
        size = (self.batch_size,)
        return {
            "tokens": jax.ShapeDtypeStruct((*size, self.context), jnp.int32),
            "targets": jax.ShapeDtypeStruct((*size, self.context), jnp.int32),
            "mask": jax.ShapeDtypeStruct((*size, self.context), jnp.float32),
            "weight": jax.ShapeDtypeStruct(size, jnp.float32),
            "id": jax.ShapeDtypeStruct(size, jnp.int32),
        }

    def _tokens(self, data_dir: str | Path | None) -> Mapping[str, np.ndarray]:
        """The tokens of all splits, memory-mapped."""
        builder, vocabulary = self.builder, self.open_vocabulary(data_dir)

        def make() -> dict[str, np.ndarray]:
            content = originals.contents(builder.name, builder.files, data_dir)
            return {split: vocabulary.encode(builder.read(split, content)) for split in builder.splits}

        folder = cache.cache_dir() / builder.name / builder.version / vocabulary.key
        return cache.arrays(folder, make) if builder.cached else make()

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        check_split(self.builder, split)
        tokens = self._tokens(data_dir)[split]
        size = self._num_windows(split, len(tokens))
        if self._overlaps(split):
            return Source(size, {"tokens": tokens})
        last = len(tokens) - 1 - self.context
        starts = np.minimum(np.arange(size, dtype=np.int64) * self.context, last).astype(np.int32)
        words, sizes = counts(tokens, self.open_vocabulary(data_dir).pieces())
        return Source(size, {"tokens": tokens, "start": starts, "words": words, "bytes": sizes})

    def fetch(self, source: Source, ids: Any) -> Batch:
        tokens, ids = source.arrays["tokens"], ids.astype(np.int32)
        offset = np.arange(self.context + 1, dtype=np.int32)[None]  # [1, T + 1]
        start = source.arrays["start"][ids] if "start" in source.arrays else ids
        window = tokens[start[:, None] + offset].astype(np.int32)  # [B, T + 1]
        batch = {
            "tokens": window[:, :-1],
            "targets": window[:, 1:],
            "mask": np.ones((len(ids), self.context), np.float32),
            "weight": np.ones(len(ids), np.float32),
            "id": ids,
        }
        if "start" in source.arrays:
            # Window k counts from position k T on; what lies before, the last window shares with the one before it.
            batch["mask"] = (start[:, None] + offset[:, :-1] >= ids[:, None] * self.context).astype(np.float32)
            targets = start[:, None] + offset[:, 1:]
            batch |= {name: source.arrays[name][targets].astype(np.float32) for name in ("words", "bytes")}
        return batch

    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """Tokens are below the size of the vocabulary."""
        return dict.fromkeys(("tokens", "targets"), (0, self.vocab_size))

    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        return batch

    def synthetic(self, batch_size: int = 8, num_steps: int = 4) -> Self:
        size = _bpe_size(self.vocabulary)
        vocabulary = BPE.train("", size) if size else self.open_vocabulary()  # no pair to merge: bytes, `size` declared
        text = SyntheticText(
            # One batch and a half to evaluate on, so that a padded batch is part of every smoke run.
            sizes=(("train", 4 * self.context + batch_size), (self.eval_split, self.context * (batch_size * 3 // 2))),
            characters=vocabulary.characters if isinstance(vocabulary, Characters) else None,
        )
        return dataclasses.replace(
            self, dataset=text, vocabulary=vocabulary, batch_size=batch_size, num_steps=num_steps
        )


def counts(tokens: np.ndarray, pieces: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Number of words that begin in each token (the end of a line is a word), and of its bytes; [N] uint16 each.

    Args:
      tokens: Tokens of a text, [N].
      pieces: Bytes that each token stands for, by its number.

    Example:
      >>> [x.tolist() for x in counts(np.array([0, 1, 2, 1]), [b"a ca", b"t", b"s\\n"])]
      [[2, 0, 1, 1], [4, 1, 2, 1]]
    """
    sizes = np.array([len(piece) for piece in pieces], np.uint16)[tokens]
    text = np.frombuffer(b"".join(pieces[token] for token in tokens.tolist()), np.uint8)
    blank = np.isin(text, np.frombuffer(b" \t\r\n", np.uint8))
    begins = (~blank & np.concatenate([[True], blank[:-1]])) | (text == ord("\n"))
    before = np.concatenate([[0], np.cumsum(begins)])
    ends = np.cumsum(sizes, dtype=np.int64)
    return (before[ends] - before[ends - sizes]).astype(np.uint16), sizes


def _bpe_size(kind: str | Vocabulary | None) -> int:
    """SIZE of "bpe:SIZE", else 0."""
    name, _, size = kind.partition(":") if isinstance(kind, str) else ("", "", "")
    return int(size) if name == "bpe" and size.isdecimal() else 0


def _vocabulary(builder: TextSet, kind: str | Vocabulary | None, data_dir: str | Path | None) -> Vocabulary:
    def text(split: str) -> bytes:
        return builder.read(split, originals.contents(builder.name, builder.files, data_dir))

    if kind is not None and not isinstance(kind, str):
        return kind
    if kind == "byte" or (kind is None and builder.characters is None):
        return Bytes()
    if kind in (None, "char"):
        return (
            Characters(builder.characters) if builder.characters else Characters.of(b"".join(map(text, builder.splits)))
        )
    size = _bpe_size(kind)
    if not builder.cached:
        return BPE.train(text("train"), size)
    path = cache.cache_dir() / builder.name / builder.version / f"bpe-{size}.json"

    def write(partial: Path) -> None:
        partial.write_text(BPE.train(text("train"), size).definition, encoding="utf-8")

    return BPE(cache.publish(path, write).read_text(encoding="utf-8"), size)
