"""Sets that are too large for memory, or whose examples vary in size: read record by record, by number."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplab.data.base import Batch, Data, Source
from deeplab.errors import UserError

if TYPE_CHECKING:
    import grain


@dataclasses.dataclass(frozen=True)
class Records:
    """Random access to a split in ArrayRecord files.

    Args:
      source: with `__len__`, `__getitem__` and the batched `__getitems__` (8 times as fast as one at a time), such as
        TFDS' data sources.
      files: (name, first record, records) of each file or part of a file, in the order of `source`; for errors.
      parse: a record to an example's arrays.
    """

    source: Any
    files: Sequence[tuple[str, int, int]]
    parse: Callable[[Any], Mapping[str, np.ndarray]]

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
        except (
            Exception
        ):  # readers raise RuntimeError, parsers anything: the same is raised again below, for one record
            examples = [self._one(number) for number in numbers]
        return {name: np.stack([example[name] for example in examples]) for name in examples[0]}

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


def pipeline(data: Data, source: Source, seed: int = 0) -> grain.MapDataset:
    """The training batches as a Grain data set: element i is the batch of step i, whichever are asked for, by whom.

    `.to_iter_dataset(grain.ReadOptions(num_threads=...))` reads ahead. Grain's own default of 16 threads was ten
    times slower than none on two cores: parsing holds the interpreter's lock, so begin with 0 and measure.

    Args:
      data: what to read.
      source: its opened training split.
      seed: of the order.

    Example:
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, epochs=1)
      >>> dl.data.records.pipeline(data, data.open("train"))[3]["image"].shape
      (32, 8, 8, 1)
    """
    import grain

    def batch(step: int) -> Batch:
        return data.fetch(source, data.train_ids(step, seed)[0])

    return grain.MapDataset.range(data.num_steps).map(batch)
