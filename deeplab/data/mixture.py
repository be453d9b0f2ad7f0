"""Several data sets mixed in given proportions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.data import order
from deeplab.data.base import Batch, Data, Source, Spec, steps_of
from deeplab.data.example_weights import is_weighted
from deeplab.data.normalize import Normalize
from deeplab.data.packing import Packed
from deeplab.data.text import Text

_BLOCK = 1000  # examples in which the proportions are exact; weights are rounded to a thousandth


@dataclasses.dataclass(frozen=True)
@ranges.checked(batch_size=ranges.COUNT, num_steps=ranges.COUNT, weights=ranges.POSITIVE)
class Mixture(Data):
    """Batches whose examples come from several sets, those of set k with the share w_k / sum_j w_j.

    In each thousand examples of the training stream set k has exactly its share (rounded to a thousandth), at positions
    that the seed chooses. Each set is visited in its own shuffled order, epoch after epoch, so that a small set with a
    large weight is repeated more often. All this is a function of (seed, position), without any saved state.

    Batches have one more field, `set` [B] int32, the number of the example's set. Examples are numbered across all
    sets. An evaluation reads one set after another, each example once, whatever the weights.

    Args:
      parts: Data sets with batches of the same fields and shapes, and the same classes in the same order. Their own
        batch sizes and steps do not matter; each example is transformed by its own set.
      weights: Positive weight of each set; their sizes when None.
      batch_size: Examples of a training or evaluation batch.
      num_steps: Number of training steps.
      eval_split: Split to evaluate on, which all sets have.
      normalize: Function applied to the model's first input; by default that of the sets, which must be the same.

    Raises:
      UserError: no set, wrong weights, a set that mixes or weights its examples, or sets whose batches, classes or
        normalizations differ.

    Example:
      >>> import deeplab as dl
      >>> digits = dl.data.Images("digits", epochs=1)
      >>> turned = dl.data.Images("digits", epochs=1, augment=dl.data.augment.rotate(15.0))
      >>> data = Mixture((digits, turned), weights=(3, 1), batch_size=1000, num_steps=2)
      >>> np.bincount(next(data.batches("train"))["set"]).tolist()
      [750, 250]
    """

    parts: Sequence[Data]
    weights: Sequence[float] | None = None
    batch_size: int = 128
    num_steps: int = 1000
    eval_split: str = "test"
    normalize: Normalize | Literal["parts"] | None = "parts"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_steps", steps_of(self, None, self.num_steps))
        if not self.parts:
            raise UserError("a mixture of no sets, expected at least one")
        self._check_parts()
        weights = self.weights
        if weights is not None and len(weights) != len(self.parts):
            raise UserError(f"weights are {tuple(weights)}, expected {len(self.parts)} numbers, one for each set")
        if self.normalize == "parts":
            first, *others = (part.normalize for part in self.parts)
            if any(other != first for other in others):
                raise UserError(
                    f"the sets of a mixture are normalized by {first} and {next(o for o in others if o != first)}; a "
                    "model has one normalization: give Mixture(normalize=...)"
                )
            object.__setattr__(self, "normalize", first)

    def _check_parts(self) -> None:
        """Raises UserError for sets whose examples need one another, or their own numbers."""
        for number, part in enumerate(self.parts):
            if getattr(part, "mix", None) is not None:
                raise UserError(
                    f"set {number} of a mixture has mix=, which would mix the examples of all sets; leave it out, or "
                    "join the sets into one and give that mix="
                )
            if is_weighted(part):
                raise UserError(
                    f"set {number} of a mixture is weighted by its examples' numbers, which a mixture numbers anew; "
                    "leave out dl.data.weighted(...), or join the sets into one and weight that"
                )

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Class names of the sets, where they have classes; the longest, where those of a set are only the first ones.

        Raises:
          UserError: the sets have different classes, so that one number would stand for several.
        """
        named = [names for part in self.parts if (names := getattr(part, "class_names", None))]
        longest = max(named, key=len, default=None)
        for names in named:
            if longest and names != longest[: len(names)]:
                raise UserError(
                    f"the sets of a mixture have the classes {', '.join(longest)} and {', '.join(names)}, so that one "
                    "label would stand for several; give all sets the same classes in the same order"
                )
        return longest

    @property
    def shares(self) -> np.ndarray:
        """Examples of each set in a thousand, [K]; the largest remainders are rounded up."""
        weights = [part.num_train for part in self.parts] if self.weights is None else self.weights
        exact = np.asarray(weights, np.float64) / np.sum(weights) * _BLOCK
        shares = np.floor(exact).astype(np.int64)
        shares[np.argsort(shares - exact, kind="stable")[: _BLOCK - shares.sum()]] += 1
        if not shares.all():
            raise UserError(
                f"weights are {tuple(weights)}; a share below a thousandth is never drawn: leave that set out"
            )
        return shares

    def examples_at(self, positions: np.ndarray, seed: int) -> np.ndarray:
        block, slot = np.divmod(positions, _BLOCK)
        # A slot of a block is one set and one rank within its share; each block has an order of its own.
        slot = order.permute(slot, _BLOCK, seed, block)
        shares, firsts = self.shares, self._firsts([part.num_examples("train") for part in self.parts])
        ends = np.cumsum(shares)
        which = np.searchsorted(ends, slot, side="right")
        out = np.empty_like(slot)
        for k, part in enumerate(self.parts):
            rows = np.flatnonzero(which == k)
            rank = slot[rows] - (ends[k] - shares[k])
            out[rows] = firsts[k] + part.examples_at(block[rows] * shares[k] + rank, seed)
        return out

    @staticmethod
    def _firsts(sizes: Sequence[int]) -> np.ndarray:
        """The number of each set's first example."""
        if sum(sizes) > 2**31 - 1:
            raise UserError(f"a mixture of {sum(sizes):,} examples, expected fewer than 2**31, which int32 can number")
        return np.cumsum([0, *sizes[:-1]])

    @property
    def num_train(self) -> int:
        return sum(part.num_train for part in self.parts)

    def num_examples(self, split: str) -> int:
        return sum(part.num_examples(split) for part in self.parts)

    def spec(self) -> Spec:
        _ = self.class_names
        first, *others = ({k: (s.shape[1:], s.dtype) for k, s in part.spec().items()} for part in self.parts)
        for number, other in enumerate(others, start=1):
            if other != first:
                raise UserError(f"batches of set {number} of a mixture are {other}, and those of set 0 are {first}")
        fields = first | {"set": ((), jnp.int32)}
        return {name: jax.ShapeDtypeStruct((self.batch_size, *shape), dtype) for name, (shape, dtype) in fields.items()}

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        self._check_names(data_dir)
        sources = tuple(part.open(split, data_dir) for part in self.parts)
        arrays = {f"{k}/{name}": array for k, source in enumerate(sources) for name, array in source.arrays.items()}
        in_memory = all(source.arrays for source in sources)
        return Source(sum(source.size for source in sources), arrays if in_memory else {}, records=sources)

    def _check_names(self, data_dir: str | Path | None) -> None:
        """Raises UserError if the numbers of one set, of classes or tokens, stand for something else in another."""
        _ = self.class_names
        keys = {part.open_vocabulary(data_dir).key for part in self.parts if isinstance(part, Text | Packed)}
        if len(keys) > 1:
            raise UserError(
                f"the sets of a mixture have the vocabularies {', '.join(sorted(keys))}; give them the same one, such "
                "as Text(..., vocabulary=first.open_vocabulary())"
            )

    def fetch(self, source: Source, ids: Any) -> Batch:
        sources = [
            dataclasses.replace(one, arrays={name: source.arrays[f"{k}/{name}"] for name in one.arrays})
            if source.arrays
            else one
            for k, one in enumerate(source.records)
        ]
        firsts = self._firsts([one.size for one in sources])
        on_host = isinstance(ids, np.ndarray) and not any(isinstance(a, jax.Array) for a in source.arrays.values())
        xp = np if on_host else jnp
        which = xp.searchsorted(xp.asarray(firsts), ids, side="right").astype(np.int32) - 1
        pick = self._rows_of_each if on_host else self._all_of_each
        return pick(sources, firsts, which, ids) | {"id": ids.astype(np.int32), "set": which}

    def _rows_of_each(self, sources: Sequence[Source], firsts: np.ndarray, which: Any, ids: np.ndarray) -> Batch:
        """Reads each example from its set."""
        batch: Batch = {}
        for k in np.unique(which):
            rows = np.flatnonzero(which == k)
            for name, value in self.parts[k].fetch(sources[k], ids[rows] - firsts[k]).items():
                array = batch.setdefault(name, np.empty((len(ids), *value.shape[1:]), value.dtype))
                if (array.dtype, array.shape[1:]) != (value.dtype, value.shape[1:]):
                    raise UserError(
                        f"{name!r} of set {k} of a mixture is {value.dtype}{list(value.shape[1:])}, and of another set "
                        f"{array.dtype}{list(array.shape[1:])}; mixed sets are stored in one shape and dtype"
                    )
                array[rows] = value
        return batch

    def _all_of_each(self, sources: Sequence[Source], firsts: np.ndarray, which: Any, ids: Any) -> Batch:
        """Reads an example from every set, and keeps its own: shapes must not depend on the draw inside a program."""
        last = [one.size - 1 for one in sources]
        batches = [
            part.fetch(one, jnp.clip(ids - first, 0, end).astype(np.int32))
            for part, one, first, end in zip(self.parts, sources, firsts.tolist(), last, strict=True)
        ]
        return _chosen(which, batches)

    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """The widest bounds of fields that all sets declare."""
        first, *others = (part.bounds() for part in self.parts)
        names = [name for name in first if all(name in other for other in others)]
        lows, ends = ({k: [b[k][i] for b in (first, *others)] for k in names} for i in (0, 1))
        return {name: (min(lows[name]), max(ends[name])) for name in names}

    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        batch = dict(batch)
        which = batch.pop("set", None)
        if which is None:  # a user's own file
            return self.parts[0].transform(batch, key)
        return _chosen(which, [part.transform(batch, key) for part in self.parts]) | {"set": which}

    def in_one_pass(self) -> Self:
        return dataclasses.replace(self, parts=tuple(part.in_one_pass() for part in self.parts))

    def synthetic(self, batch_size: int = 8, num_steps: int = 4) -> Self:
        parts = tuple(part.synthetic(batch_size, num_steps) for part in self.parts)
        return dataclasses.replace(self, parts=parts, batch_size=batch_size, num_steps=num_steps)

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, Batch]]:
        return self.parts[0].read_file(path, data_dir)

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self.parts[0].describe(prediction)


def _chosen(which: Any, batches: Sequence[Batch]) -> Batch:
    """For each example the arrays of its own set."""
    out = batches[0]
    for k, batch in enumerate(batches[1:], start=1):

        def own(mine: Any, so_far: Any, k: int = k) -> Any:
            return jnp.where((which == k).reshape(-1, *[1] * (mine.ndim - 1)), mine, so_far)

        out = {name: own(batch[name], out[name]) for name in out}
    return out
