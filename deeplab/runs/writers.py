"""Sinks of metrics: `metrics.jsonl`, TensorBoard, and on request Weights & Biases."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import socket
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from deeplab.core.errors import UserError
from deeplab.runs.record import Run

Write = Callable[[int, str, dict[str, float]], None]
"""A function of (step, split, metrics)."""


class Writer(Protocol):
    """A sink of metrics."""

    def write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Writes the values of one step; later values of the same step replace earlier ones."""
        ...

    def close(self) -> None:
        """Flushes and releases the sink."""
        ...


class TensorBoard:
    """An event file for TensorBoard, with `split/metric` against the step, written without TensorFlow.

    Each row is one write, so that a kill leaves at most a partial row at the end, which TensorBoard ignores.
    tensorboardX's own writer is a thread behind a queue of ten: on a full disk the thread ends, and the eleventh value
    blocks forever.

    Args:
      directory: Folder of the event files; each session adds one.
      step: First step of this session; TensorBoard hides what earlier sessions wrote after it.
    """

    def __init__(self, directory: Path, step: int = 0):
        event_pb2, summary_pb2, crc32c = _tensorboard_parts("proto.event_pb2", "proto.summary_pb2", "crc32c")
        self._event, self._summary, self._checksum = event_pb2.Event, summary_pb2.Summary, crc32c.crc32c
        directory.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file = (directory / name).open("ab", buffering=0)
        self._add(event_pb2.Event(file_version="brain.Event:2"))
        if step:
            session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(event_pb2.Event(step=step + 1, session_log=session))

    def write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        values = [self._summary.Value(tag=f"{split}/{name}", simple_value=value) for name, value in metrics.items()]
        self._add(self._event(step=step, summary=self._summary(value=values)))

    def close(self) -> None:
        self._file.close()

    def _add(self, event: Any) -> None:
        """Appends a TFRecord: length, checksum of the length, data, checksum of the data."""
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + self._masked(length) + data + self._masked(data))

    def _masked(self, data: bytes) -> bytes:
        """The masked CRC-32C of a TFRecord: rotated by 15 bits, plus a constant."""
        crc = self._checksum(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _tensorboard_parts(*names: str) -> list[Any]:
    """Modules of tensorboardX without its package, which would import PyTorch where it is installed (1 s)."""
    loaded = "tensorboardX" in sys.modules
    if not loaded and (found := importlib.util.find_spec("tensorboardX")):
        sys.modules["tensorboardX"] = importlib.util.module_from_spec(found)  # Gives the path of its modules.
    try:
        with warnings.catch_warnings(action="ignore"):  # Deprecations in protobuf.
            return [importlib.import_module(f"tensorboardX.{name}") for name in names]
    finally:
        if not loaded:
            sys.modules.pop("tensorboardX", None)  # A later import of the package loads all of it.


class WandB:
    """Weights & Biases; all sessions of a run directory are one run there.

    Args:
      project: Name of the project.
      directory: Path of the run directory; its last two parts name the run.
      config: Arguments of the experiment.

    Raises:
      UserError: The package `wandb` is not installed.
    """

    def __init__(self, project: str, directory: Path, config: dict[str, Any]):
        try:
            import wandb  # type: ignore[import-not-found]  # an extra
        except ImportError as error:
            raise UserError(
                f"--wandb {project}: the package wandb is not installed; pip install 'deeplab[wandb]', or leave it out"
            ) from error
        name = "-".join(directory.parts[-2:])
        self._run = wandb.init(project=project, id=name, name=name, dir=str(directory), config=config, resume="allow")
        # wandb's own step cannot decrease, and a resumed run returns to the step of its last checkpoint.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        self._run.log({"step": step, **{f"{split}/{name}": value for name, value in metrics.items()}})

    def close(self) -> None:
        self._run.finish()


@contextlib.contextmanager
def open(run: Run, *, wandb: str | None = None) -> Iterator[Write]:
    """A context with a function that writes to all sinks of a run.

    Args:
      run: Run, after `restore`; its `metrics.jsonl` is the first sink.
      wandb: Project in Weights & Biases; None to not log there.
    """
    with contextlib.ExitStack() as closing:
        sinks: list[Writer] = []
        if wandb is not None:
            config = run.manifest["arguments"] | {"seed": run.manifest["seed"]}
            sinks.append(WandB(wandb, run.directory, config))
            closing.callback(sinks[-1].close)
        sinks.append(TensorBoard(run.directory / "tensorboard", run.step))
        closing.callback(sinks[-1].close)

        def write(step: int, split: str, metrics: dict[str, float]) -> None:
            run.append(step, split, metrics)
            for sink in sinks:
                sink.write(step, split, metrics)

        yield write
