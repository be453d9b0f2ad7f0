"""Random access to sets of records, which are too large for memory or vary in size."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Batch, Data, Source

if TYPE_CHECKING:
    import grain


@dataclasses.dataclass(frozen=True)
class Records:
    """Random access to a split in ArrayRecord files.

    Args:
      source: Sequence with `__len__`, `__getitem__` and the batched `__getitems__` (8 times as fast as one record at a
        time), such as TFDS' data sources.
      files: (name, first record, number of records) of each file or part of a file, in the order of `source`; for
        errors.
      parse: Function from a record to an example's arrays.
      skip: Whether a corrupted record is replaced by zeros of weight 0, with a warning, instead of stopping the run.

    Example:
      >>> class Texts(list):
      ...     def __getitems__(self, numbers):
      ...         return [self[number] for number in numbers]
      >>> parse = lambda record: {"label": np.array(int(record))}
      >>> records = Records(Texts(["7", "8", "?"]), [("a.array_record", 0, 3)], parse)
      >>> records.batch(np.array([1, 0]))["label"].tolist()
      [8, 7]
      >>> records[2]  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: record 2 of a.array_record is corrupted (...); copy or prepare the file again
    """

    source: Any
    files: Sequence[tuple[str, int, int]]
    parse: Callable[[Any], Mapping[str, np.ndarray]]
    skip: bool = False

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return {name: array[0] for name, array in self.batch(np.array([number])).items()}

    def batch(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """The examples `ids`, [B], as arrays [B, ...].

        Raises:
          UserError: a record is corrupted; the message names the file and the record.
        """
        numbers = np.asarray(ids).tolist()
        try:
            examples = [self.parse(record) for record in self.source.__getitems__(numbers)]
        except UserError:
            raise
        except Exception:  # readers raise RuntimeError, parsers anything; raised again below, for the record at fault
            return self._one_by_one(numbers)
        return _stacked(examples)

    def _one_by_one(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """A batch that holds a corrupted record, read record by record."""
        examples: list[Mapping[str, np.ndarray] | None] = []
        for number in numbers:
            try:
                examples.append(self._one(number))
            except UserError as error:
                if not self.skip:
                    raise
                warnings.warn(f"{error}; it is left out", stacklevel=3)
                examples.append(None)
        good = next((example for example in examples if example is not None), None)
        if good is None:
            raise UserError(f"all of the records {list(numbers)[:5]}... of one batch are corrupted; prepare them again")
        blank = {name: np.zeros_like(array) for name, array in good.items()}
        weight = np.array([example is not None for example in examples], np.float32)
        return _stacked([blank if example is None else example for example in examples]) | {"weight": weight}

    def _one(self, number: int) -> Mapping[str, np.ndarray]:
        try:
            return self.parse(self.source[number])
        except Exception as error:
            file, record = self._locate(number)
            raise UserError(
                f"record {record} of {file} is corrupted ({str(error).splitlines()[0] if str(error) else error!r}); "
                "copy or prepare the file again"
            ) from error

    def _locate(self, number: int) -> tuple[str, int]:
        for file, first, count in self.files:
            if number < count:
                return file, first + number
            number -= count
        raise IndexError(number)


def _stacked(examples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def pipeline(data: Data, source: Source, seed: int = 0, rows: Any = slice(None)) -> grain.MapDataset:
    """The training batches as a Grain data set, whose element i is the batch of step i.

    `.to_iter_dataset(grain.ReadOptions(num_threads=...))` reads ahead. Grain's default of 16 threads was ten times
    slower than none on two cores, because parsing holds the interpreter's lock: begin with 0 and measure.

    Args:
      data: Data to read.
      source: Opened training split of the data.
      seed: Seed of the order.
      rows: Rows of each batch that are read; each of several hosts reads its own.

    Example:
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, epochs=1)
      >>> dl.data.records.pipeline(data, data.open("train"))[3]["image"].shape
      (32, 8, 8, 1)
    """
    import grain

    def batch(step: int) -> Batch:
        return data.train_batch(source, step, seed, rows)

    return grain.MapDataset.range(data.num_steps).map(batch)


@contextlib.contextmanager
def in_processes(
    data: Data, source: Source, seed: int, start: int, end: int, workers: int, rows: Any = slice(None)
) -> Iterator[Iterator[Batch]]:
    """The batches of training steps `start` to `end`, in order, read by worker processes.

    Process w reads the steps start + w, start + w + workers, ..., so the batches do not depend on `workers`. Each
    process takes some seconds to import what the data need, and keeps two batches ready.

    Args:
      data: Data to read; pickled, with its source, for the processes.
      source: Opened training split of the data.
      seed: Seed of the order.
      start: First step.
      end: Step after the last.
      workers: Number of processes; with 0 this one reads.
      rows: Rows of each batch that are read, as for `pipeline`.

    Example:
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, epochs=1)
      >>> with in_processes(data, data.open("train"), seed=0, start=3, end=5, workers=0) as batches:
      ...     np.array_equal([batch["id"] for batch in batches], data.train_ids(3, seed=0, count=2))
      True
    """
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain's flags keep their defaults: no absl.app has read a command line
    steps = pipeline(data, source, seed, rows)[start:end]
    options = grain.multiprocessing.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
    # The process's own thread reads; see `pipeline`.
    batches = iter(steps.to_iter_dataset(grain.ReadOptions(0, 0)).mp_prefetch(options))
    try:
        yield batches
    finally:
        batches.close()
