"""Documents of any length packed into rows of one length."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Batch, Data, Source, Spec
from deeplab.data.features.vocab import Vocabulary
from deeplab.data.prepare import cache, originals
from deeplab.data.sets.base import check_split
from deeplab.data.text import Text

_REACH = 1024  # rows that a document may go to: a million documents then take seconds


@dataclasses.dataclass(frozen=True)
class Packed(Data):
    """Batches of packed documents: `tokens`, `targets` and `segments`, [B, T] int32, and `mask` [B, T] float32.

    The documents of a row have the segments 1, 2, ...; padding has segment 0 and mask 0. A model that reads segments
    (`dl.models.GPT`) attends within them and counts positions from the beginning of each, so that the loss of a packed
    document equals that of the document alone. A document of L tokens has L - 1 targets, each counted once; one with
    more than T targets is cut into pieces.

    An example is a row. Which documents share a row depends on their lengths alone (`first_fit`), and the order of the
    rows on (seed, step).

    Args:
      text: Text with its vocabulary, context length T, batch size and number of steps.
      separator: String that ends a document; it becomes the document's last token or tokens.

    Raises:
      UserError: the separator is empty.

    Example:
      >>> text = Text("tiny_shakespeare", context=64, num_steps=100)
      >>> sorted(Packed(text, separator="\\n\\n").spec())
      ['id', 'mask', 'segments', 'targets', 'tokens', 'weight']
    """

    text: Text
    separator: str = "\n\n"
    batch_size: int = dataclasses.field(init=False)
    eval_split: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_size", self.text.batch_size)
        object.__setattr__(self, "eval_split", self.text.eval_split)
        separator = self.separator.replace("\r\n", "\n").replace("\r", "\n")  # as the lines of texts are read
        object.__setattr__(self, "separator", separator)
        if not self.separator:
            raise UserError("separator is empty, expected the string that ends a document, such as a line break")

    @property
    def num_steps(self) -> int:
        return self.text.num_steps

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary, known without opening the set."""
        return self.text.vocab_size

    def open_vocabulary(self, data_dir: str | Path | None = None) -> Vocabulary:
        """The vocabulary as a value; see `Text.open_vocabulary`."""
        return self.text.open_vocabulary(data_dir)

    def num_examples(self, split: str) -> int:
        """Number of rows of a split, known once the set has been prepared."""
        check_split(self.text.builder, split)
        return len(self._known_rows[f"{split}_tokens"])

    def spec(self) -> Spec:
        spec = self.text.spec()
        return spec | {"segments": spec["tokens"]}

    @functools.cached_property
    def _known_rows(self) -> Mapping[str, np.ndarray]:
        return self._rows(None)

    def _rows(self, data_dir: str | Path | None) -> Mapping[str, np.ndarray]:
        """Tokens, targets and segments of all splits, [R, T] each, memory-mapped."""
        builder, vocabulary, context = self.text.builder, self.open_vocabulary(data_dir), self.text.context

        def make() -> dict[str, np.ndarray]:
            content = originals.contents(builder.name, builder.files, data_dir)
            made = {}
            for split in builder.splits:
                documents = _documents(builder.read(split, content), self.separator)
                rows = pack([vocabulary.encode(document) for document in documents], context)
                made |= {f"{split}_{name}": array for name, array in rows.items()}
            return made

        how = hashlib.sha256(self.separator.encode()).hexdigest()[:8]
        folder = cache.cache_dir() / builder.name / builder.version / f"{vocabulary.key}-packed-{context}-{how}"
        return cache.arrays(folder, make) if builder.cached else make()

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        check_split(self.text.builder, split)
        rows = self._rows(data_dir)
        arrays = {name: rows[f"{split}_{name}"] for name in ("tokens", "targets", "segments")}
        if not len(arrays["tokens"]):
            raise UserError(f"split {split!r} of {self.text.builder.name} holds no document of two tokens or more")
        return Source(len(arrays["tokens"]), arrays)

    def fetch(self, source: Source, ids: Any) -> Batch:
        batch = {name: array[ids].astype(np.int32) for name, array in source.arrays.items()}
        mask = (batch["segments"] > 0).astype(np.float32)
        return batch | {"mask": mask, "weight": np.ones(len(ids), np.float32), "id": ids.astype(np.int32)}

    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """Those of the text."""
        return self.text.bounds()

    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        return {name: jnp.asarray(array) for name, array in batch.items()}

    def synthetic(self, batch_size: int = 8, num_steps: int = 4) -> Self:
        # The twin's documents are its words, each ended by a blank.
        return dataclasses.replace(self, text=self.text.synthetic(batch_size, num_steps), separator=" ")


def _documents(text: bytes, separator: str) -> list[bytes]:
    """The documents, each with the separator that ends it; two separators in a row enclose no document."""
    end = separator.encode()
    *whole, last = text.split(end)
    return [document + end for document in whole if document] + ([last] if last else [])


def pack(documents: Sequence[np.ndarray], context: int) -> dict[str, np.ndarray]:
    """Documents as `tokens`, `targets` and `segments` (0 where there is nothing), [R, T] each.

    Example:
      >>> rows = pack([np.array([1, 2, 3]), np.array([4, 5]), np.array([6, 7])], context=4)
      >>> rows["tokens"].tolist(), rows["targets"].tolist(), rows["segments"].tolist()
      ([[1, 2, 4, 6]], [[2, 3, 5, 7]], [[1, 1, 2, 3]])
    """
    pieces = [(document, at) for document in documents for at in range(0, len(document) - 1, context)]
    lengths = [min(context, len(document) - 1 - at) for document, at in pieces]
    row, start = first_fit(lengths, context)
    shape = (int(row.max(initial=-1)) + 1, context)
    kind = documents[0].dtype if documents else np.dtype(np.uint8)
    tokens, targets, segments = np.zeros(shape, kind), np.zeros(shape, kind), np.zeros(shape, np.int32)
    count = np.zeros(shape[0], np.int32)
    for (document, at), length, r, s in zip(pieces, lengths, row.tolist(), start.tolist(), strict=True):
        count[r] += 1
        place = slice(s, s + length)
        tokens[r, place], targets[r, place] = document[at : at + length], document[at + 1 : at + 1 + length]
        segments[r, place] = count[r]
    return {"tokens": tokens, "targets": targets, "segments": segments}


def first_fit(lengths: Sequence[int], capacity: int, reach: int = _REACH) -> tuple[np.ndarray, np.ndarray]:
    """Row and start of each piece: the first of the last `reach` rows that has room, or else a new row.

    With an unlimited reach, at most 1.7 times the rows of the best packing (Johnson et al. 1974,
    https://doi.org/10.1137/0203025).

    Example:
      >>> row, start = first_fit([3, 3, 1, 1], capacity=4)
      >>> row.tolist(), start.tolist()
      ([0, 1, 0, 1], [0, 0, 3, 3])
    """
    used = np.zeros(len(lengths), np.int64)
    row, start = np.zeros((2, len(lengths)), np.int64)
    rows = 0
    for i, length in enumerate(lengths):
        first = max(0, rows - reach)
        fits = used[first:rows] + length <= capacity
        r = first + int(np.argmax(fits)) if fits.any() else rows
        row[i], start[i] = r, used[r]
        used[r] += length
        rows = max(rows, r + 1)
    return row, start
