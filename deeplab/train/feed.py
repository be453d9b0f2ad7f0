"""The input of a compiled program: data resident on the devices, or batches that are streamed from the host.

A data set that fits device memory is placed there once, and the step receives example numbers. A larger one is read
on the host by a thread or by processes, and sent to the devices a few batches ahead. The order is the same in both
cases. With several processes, each reads the rows of a batch that its own devices hold, without communication.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from deeplab.data import records
from deeplab.data.base import Batch, Data, Source
from deeplab.scale.mesh import BATCH

_SHARE = 0.25  # largest fraction of a device's memory for a resident data set


class _Reader(NamedTuple):
    """Reader of the training split, step by step.

    Attributes:
      read: Function from `(step, n)` to the item of training steps `step` to `step + n`, called in order. For resident
        data the item is example numbers [n, B]; otherwise n is 1, and the item is a batch on the devices.
      ready: Predicate that tells whether `read` would return the next item without waiting.
    """

    read: Callable[[int, int], Any]
    ready: Callable[[], bool]


@dataclasses.dataclass(frozen=True)
class Feed:
    """A split whose batches are placed on a mesh.

    Attributes:
      data: Data set, which determines the batches.
      source: Opened split.
      mesh: Devices that receive the batches.
      resident: `source.arrays` on the devices; None if batches are assembled on the host.
      workers: Number of processes that assemble batches; 0 is a thread of this process.
      axes: Mesh axes that split the first axis of an item: its examples, or members with a batch each.

    Example:
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, epochs=1)
      >>> feed = Feed(data, data.open("train"), dl.scale.make_mesh("data=1"), resident=None)
      >>> with feed.reader(start=3, seed=0, end=5) as reader:
      ...     [reader.read(step, 1)["image"].shape for step in (3, 4)]
      [(32, 8, 8, 1), (32, 8, 8, 1)]
    """

    data: Data
    source: Source
    mesh: Mesh
    resident: dict[str, jax.Array] | None
    workers: int = 0
    axes: tuple[str, ...] = BATCH

    def fetch(self, arrays: Any, item: Any) -> Batch:
        """Raw batch, inside the program; `item` is example numbers for resident data, else the batch itself."""
        if self.resident is None:
            return item
        return self.data.fetch(dataclasses.replace(self.source, arrays=arrays), item)

    def put(self, item: Any, axis: int = 0) -> Any:
        """Places a host batch (a dict, from `read`), or an array such as example numbers, on the mesh.

        Args:
          item: Array that is the same in every process, or batch of which each process has its own rows.
          axis: Axis of the item that the mesh splits.
        """
        sharding = self._sharding(axis)
        if jax.process_count() == 1 or not isinstance(item, dict):
            return place(item, sharding)
        shards = math.prod(self.mesh.shape[name] for name in self.axes)
        here = len(self._rows(shards))
        with jax.transfer_guard_host_to_device("allow"):
            return {
                name: jax.make_array_from_process_local_data(
                    sharding, np.asarray(x), (len(x) * shards // here, *x.shape[1:])
                )
                for name, x in item.items()
            }

    def replicate(self, item: Any) -> Any:
        """Places a copy of the item on every device."""
        return place(item, NamedSharding(self.mesh, PartitionSpec()))

    def train_ids(self, step: int, seed: int | np.ndarray, count: int = 1) -> np.ndarray:
        """Example numbers of training steps `step` to `step + count`: [count, B], or [count, M, B] for seeds [M]."""
        if np.ndim(seed) == 0:
            return self.data.train_ids(step, int(seed), count)
        seeds, member = np.unique(seed, return_inverse=True)  # members with equal seeds share examples
        return np.stack([self.data.train_ids(step, int(s), count) for s in seeds], axis=1)[:, member]

    def read(self, ids: np.ndarray) -> Batch:
        """Raw batch of the examples `ids`, [B] or [M, B], on the host; only the rows of this process."""
        ids = ids[self._rows(len(ids))]
        if ids.ndim == 1:
            return self.data.fetch(self.source, ids)
        different, member = np.unique(ids, axis=0, return_inverse=True)
        batch = self.data.fetch(self.source, different.reshape(-1))
        return {k: x.reshape(*different.shape, *x.shape[1:])[member.reshape(-1)] for k, x in batch.items()}

    def _sharding(self, axis: int = 0) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, self.axes))

    def _rows(self, size: int) -> Any:
        """Rows of an item that the devices of this process hold."""
        if jax.process_count() == 1:
            return slice(None)
        indices = self._sharding().addressable_devices_indices_map((size,)).values()
        return np.unique(np.concatenate([np.arange(size)[index] for index in indices]))

    @contextlib.contextmanager
    def reader(self, start: int, seed: int | np.ndarray, end: int) -> Iterator[_Reader]:
        """Reads steps `start` to `end`; batches from the host are read and sent to the devices ahead of time.

        Args:
          start: First step.
          seed: Seed of the data order; [M], one for each member, if members read a batch each.
          end: Step after the last one.
        """
        if self.resident is not None:
            yield _Reader(lambda step, n: self.train_ids(step, seed, n), lambda: True)
            return
        # With several processes each has only some rows, whose shapes are checked before `put` joins them.
        put = self.put if jax.process_count() == 1 else lambda batch: batch
        with contextlib.ExitStack() as stack:
            if self.workers and np.ndim(seed) == 0:
                rows = self._rows(self.data.batch_size)
                batches = stack.enter_context(
                    records.in_processes(self.data, self.source, int(seed), start, end, self.workers, rows)
                )
                ahead = _Ahead(lambda step: put(next(batches)), start, end)
            else:
                ahead = _Ahead(lambda step: put(self.read(self.train_ids(step, seed)[0])), start, end)
            items = stack.enter_context(ahead)
            yield _Reader(lambda step, n: next(items), ahead.ready)

    def eval_items(self, split: str) -> Iterator[tuple[Any, np.ndarray]]:
        """Yields (item, weight) for each batch of one pass over a split."""
        for ids, weight in zip(*self.data.eval_ids(split), strict=True):
            yield (ids if self.resident is not None else self.read(ids)), weight


def make_feed(data: Data, source: Source, mesh: Mesh, workers: int = 0) -> Feed:
    """Places a source on the devices if it fits; each device of the mesh then holds a copy.

    Args:
      data: Data set, which determines the batches.
      source: Opened split.
      mesh: Devices that receive the batches.
      workers: Number of processes that read a source which does not fit; 0 is a thread.

    Example:
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, epochs=1)
      >>> feed = dl.make_feed(data, data.open("train"), dl.scale.make_mesh("data=1"))
      >>> feed.resident["image"].shape, feed.resident["image"].dtype
      ((1437, 8, 8, 1), dtype('uint8'))
    """
    if not source.arrays or source.nbytes > _SHARE * device_memory(mesh):
        return Feed(data, source, mesh, None, workers)
    arrays = {name: np.asarray(a) for name, a in source.arrays.items()}
    return Feed(data, source, mesh, place(arrays, NamedSharding(mesh, PartitionSpec())))


def place(item: Any, sharding: NamedSharding) -> Any:
    """Places host arrays on devices; each process places the parts that its own devices hold.

    With several processes, `jax.device_put` would first compare the arrays of all processes in every call.

    Example:
      >>> sharding = NamedSharding(Mesh(jax.devices()[:1], "data"), PartitionSpec("data"))
      >>> place({"x": np.arange(3)}, sharding)["x"].sharding == sharding
      True
    """
    if jax.process_count() == 1:
        return jax.device_put(item, sharding)
    with jax.transfer_guard_host_to_device("allow"):
        return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), item)


def device_memory(mesh: Mesh) -> int:
    """Memory of one device of a mesh, in bytes; CPU devices share the host's memory equally.

    Example:
      >>> device_memory(Mesh(jax.devices()[:1], "data")) > 2**20  # more than a MiB
      True
    """
    device = mesh.local_devices[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(mesh.local_devices)


class _Ahead:
    """Reads items `start`, `start + 1`, ... ahead in a thread; an error there is raised to the consumer."""

    def __init__(self, read: Callable[[int], Any], start: int, end: int, depth: int = 2):
        self._queue: queue.Queue = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(read, start, end), daemon=True)

    def _run(self, read: Callable[[int], Any], start: int, end: int) -> None:
        try:
            for i in range(start, end):
                self._offer((read(i), None))
                if self._stop.is_set():
                    return
            self._offer((None, None))
        except Exception as error:  # any error is passed on, and raised to the consumer
            error.add_note(f"while reading the batch of training step {i}")
            self._offer((None, error))

    def _offer(self, item: tuple[Any, Exception | None]) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def ready(self) -> bool:
        """Whether an item or an error is available."""
        return not self._queue.empty()

    def __enter__(self) -> Iterator[Any]:
        self._thread.start()
        return self._items()

    def _items(self) -> Iterator[Any]:
        while True:
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
