"""The contract of data: batch *i* is a pure function of (seed, *i*).

A `Data` value describes batches without touching a disk. A batch comes into being in four stages, each pure but the
first:

1. `open` prepares a split if need be, and gives a `Source`, whose examples are numbered;
2. `fetch` cuts the raw batch of given examples from it, on the host or on the device alike;
3. `transform` runs inside the jitted step: features, augmentation, mixing. A batch then holds images in [0, 1];
4. `normalize`, a value, is applied to the model's first input by the task's `Apply`.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from deeplab.core.contract import Contract
from deeplab.core.errors import UserError
from deeplab.data import order
from deeplab.data.normalize import Normalize

Batch = dict[str, Any]
"""Arrays with a leading batch axis; always `weight` (0 for padding, float32) and `id` (the example's number, int32)."""

Spec = dict[str, jax.ShapeDtypeStruct]
"""Shape and dtype of each array of a batch."""

Example = dict[str, Any]
"""One example: arrays without the batch axis, `id` and `weight` among them."""

Prepare = Callable[[Example, jax.Array | None], Example]
"""`(example, key) -> example`, pure: from what is stored to what the model reads. The key is None in an evaluation."""

Mix = Callable[[jax.Array, Batch], Batch]
"""`(key, batch) -> batch`, pure: what needs more than one example, such as mixup."""

Show = Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""`(raw batch, predictions) -> cards`, as that of an `Experiment`."""

NO_EXAMPLE = np.uint32(2**32 - 1)
"""The number that no example has: `fold_in(key, NO_EXAMPLE)` is a key for the whole batch."""


@dataclasses.dataclass(frozen=True)
class Source:
    """An opened split.

    Attributes:
      size: Number of examples.
      arrays: Arrays that examples are cut from; memory-mapped, and moved to the device when they fit there. Empty for
        sets of records, which `Data.fetch` reads by number on the host.
      records: Random-access reader of records, for sets that are not arrays.

    Example:
      >>> Source(2, {"x": np.zeros((2, 3), np.float32)}).nbytes
      24
    """

    size: int
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    records: Any = None

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in self.arrays.values())


class Data(Contract):
    """Batches of training and evaluation examples. Subclasses are frozen records, and final.

    Attributes:
      batch_size: Examples of a training or evaluation batch.
      num_steps: Number of training steps.
      epochs: Passes over the training examples, after which the last training batch is padded; None if the stream of
        examples has no end but `num_steps`.
      eval_split: Split to evaluate on.
      train_fraction: Fraction of the training examples that are used: the first ones of a shuffle by the run's seed.
      repeats: Number of successive training steps that read the same examples.
      normalize: Function applied to the model's first input, after `transform` and before the cast to the compute
        dtype; None leaves it as it is.
      show: Function that draws examples for the report of an experiment that gives none; see `Experiment`.

    Example:
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=128, epochs=2)
      >>> isinstance(data, Data), data.num_steps
      (True, 23)
    """

    batch_size: int
    num_steps: int
    epochs: int | None = None
    eval_split: str
    train_fraction: float = 1.0
    repeats: int = 1
    normalize: Normalize | None = None
    show: Show | None = None

    @abc.abstractmethod
    def num_examples(self, split: str) -> int:
        """Size of a split, known without opening it."""

    @abc.abstractmethod
    def spec(self) -> Spec:
        """Shapes and dtypes of an evaluation batch after `transform`."""

    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """Least value and exclusive upper bound of fields of integers, where they are known before the data are read.

        A field that is not named is looked at once, if its values are labels (see `deeplab.train.check`).
        """
        return {}

    @abc.abstractmethod
    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        """Opens a split, preparing it first if need be: the only side effect of this class.

        Args:
          split: Name of the split, such as "train" or "test".
          data_dir: Folder with the original files; downloaded (checksums verified) when None.
        """

    @abc.abstractmethod
    def fetch(self, source: Source, ids: Any) -> Batch:
        """The raw batch of the examples `ids`, [B]; pure, and jit-able when `source.arrays` are jax arrays."""

    @abc.abstractmethod
    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Raw batch to task batch, inside the step; augments when given a key, each example by its own `id`."""

    @abc.abstractmethod
    def synthetic(self, batch_size: int = 8, num_steps: int = 4) -> Self:
        """A twin with batches of the same shapes (except the batch axis), made up on the spot: for smoke runs."""

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, Example]]:
        """Raw examples of a user's own file, each with a name that begins with the file's: for `predict`.

        Fields that only training needs, such as the label, may be absent.

        Raises:
          UserError: the file cannot be read, or no files are read for this kind of data.
        """
        raise UserError(f"{path}: predict reads no files of your own for {type(self).__name__}")

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """One example's predictions in the user's terms: by default, its scalars."""
        return {name: np.asarray(value).item() for name, value in prediction.items() if np.ndim(value) == 0}

    def in_one_pass(self) -> Self:
        """The same data with each target once in a pass over the training split, too: for an evaluation on it."""
        return self

    @property
    def num_train(self) -> int:
        """Number of training examples that are used."""
        return max(1, round(self.train_fraction * self.num_examples("train")))

    @property
    def steps_per_epoch(self) -> int:
        """Number of training steps in which each example has been read, rounded up."""
        return math.ceil(self.num_train / self.batch_size) * self.repeats

    def train_ids(self, step: int, seed: int, count: int = 1) -> np.ndarray:
        """Examples of training steps `step` to `step + count`, [count, B] int32.

        Those of a smaller `train_fraction` are among those of a larger one, whatever their order.
        """
        firsts = np.arange(step, step + count, dtype=np.int64) // self.repeats * self.batch_size
        positions = firsts[:, None] + np.arange(self.batch_size)
        return self.examples_at(positions.reshape(-1), seed).reshape(positions.shape).astype(np.int32)

    def train_weight(self, step: int) -> np.ndarray:
        """Weights of the examples of a training step, [B] float32: 0 in the last batch for those after the last epoch.

        There the batch holds the first examples of the epoch that would come next, so that it has the shape and the
        statistics of any other.
        """
        left = self.batch_size
        if self.epochs is not None and step >= self.num_steps - self.repeats:
            left = self.epochs // self.repeats * self.num_train - step // self.repeats * self.batch_size
        return (np.arange(self.batch_size) < left).astype(np.float32)

    def train_batch(self, source: Source, step: int, seed: int, rows: Any = slice(None)) -> Batch:
        """The raw batch of a training step, or some of its rows, on the host; padded as `train_weight` says."""
        batch = self.fetch(source, self.train_ids(step, seed)[0][rows])
        return batch | {"weight": batch["weight"] * self.train_weight(step)[rows]}

    def examples_at(self, positions: np.ndarray, seed: int) -> np.ndarray:
        """Examples at positions of the endless training stream, [N] each."""
        total, size = self.num_examples("train"), self.num_train
        ids = order.at(positions, size, seed)
        return ids if size == total else order.permute(ids, total, seed, order.SUBSET)

    def eval_ids(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """One pass in order: ids [N, B] int32 and weights [N, B] float32, 0 where the last batch is padded."""
        size = self.num_examples(split)
        shape = (math.ceil(size / self.batch_size), self.batch_size)
        ids = np.arange(math.prod(shape), dtype=np.int32)
        inside = ids < size
        return np.where(inside, ids, 0).reshape(shape), inside.astype(np.float32).reshape(shape)

    def batches(
        self, split: str = "train", *, start: int = 0, seed: int = 0, data_dir: str | Path | None = None
    ) -> Iterator[Batch]:
        """Raw numpy batches: the training stream from step `start` to `num_steps`, or one pass over another split.

        Example:
          >>> import deeplab as dl
          >>> data = dl.data.Images("digits", batch_size=128, epochs=1)
          >>> next(data.batches("train"))["image"].shape
          (128, 8, 8, 1)
        """
        source = self.open(split, data_dir)
        if split == "train":
            for step in range(start, self.num_steps):
                yield self.train_batch(source, step, seed)
        else:
            for ids, weight in zip(*self.eval_ids(split), strict=True):
                batch = self.fetch(source, ids)
                yield batch | {"weight": weight * batch["weight"]}


def raw_spec(data: Data) -> Spec:
    """Shapes and dtypes of a raw batch, before `transform`: those of the data's synthetic twin, so nothing is read."""
    twin = data.synthetic()
    few = jax.eval_shape(lambda: twin.fetch(twin.open("train"), twin.train_ids(0, 0)[0]))
    return {name: jax.ShapeDtypeStruct((data.batch_size, *s.shape[1:]), s.dtype) for name, s in few.items()}


def steps_of(data: Data, epochs: int | None, num_steps: int | None) -> int:
    """Training steps of data that are given either `epochs` or `num_steps`.

    Epochs follow one another without a gap: of e epochs of N examples only the last of ceil(e N / B) batches is padded.
    A batch that is repeated counts each time.
    """
    if (epochs is None) == (num_steps is None):
        raise UserError(
            f"data have epochs={epochs} and num_steps={num_steps}, expected exactly one of them (the other None)"
        )
    if num_steps is not None:
        return num_steps
    assert epochs is not None
    orders, rest = divmod(epochs, data.repeats)
    if rest:
        raise UserError(
            f"epochs is {epochs}, expected a multiple of repeats={data.repeats}, since an example counts each time "
            f"that its batch comes; use {orders * data.repeats or data.repeats} or {(orders + 1) * data.repeats}"
        )
    return data.repeats * math.ceil(orders * data.num_train / data.batch_size)
