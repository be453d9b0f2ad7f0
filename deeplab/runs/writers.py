"""Where metrics go: the run's own rows always, TensorBoard, and Weights & Biases where it is asked for."""

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
"""(step, split, metrics)."""


class Writer(Protocol):
    """A sink of metrics."""

    def write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Takes the values of one step; the last of one step counts."""
        ...

    def close(self) -> None:
        """Hands over what is still buffered."""
        ...


class TensorBoard:
    """An event file for TensorBoard, written without TensorFlow: `split/metric` against the step.

    Each row is one write, whole or torn at the end after a kill, as TensorBoard expects. tensorboardX' own writer is
    a thread behind a pipe of ten places: on a full disk the thread ends, and the eleventh value waits for ever.

    Args:
      directory: of the event files; each session adds one.
      step: where this session begins: TensorBoard hides what earlier ones have written after it.
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
        """One TFRecord: length, its checksum, data, their checksum."""
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + self._masked(length) + data + self._masked(data))

    def _masked(self, data: bytes) -> bytes:
        """CRC-32C, turned by 15 bits and moved, as TFRecord has it."""
        crc = self._checksum(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _tensorboard_parts(*names: str) -> list[Any]:
    """Modules of tensorboardX, but not the package around them: that loads PyTorch where it is installed, for 1 s."""
    loaded = "tensorboardX" in sys.modules
    if not loaded and (found := importlib.util.find_spec("tensorboardX")):
        sys.modules["tensorboardX"] = importlib.util.module_from_spec(found)  # where its modules lie, and no more
    try:
        with warnings.catch_warnings(action="ignore"):  # protobuf's, about its own future
            return [importlib.import_module(f"tensorboardX.{name}") for name in names]
    finally:
        if not loaded:
            sys.modules.pop("tensorboardX", None)  # who asks for the package gets it whole


class WandB:
    """Weights & Biases; a run directory is one run there too, however often it is resumed.

    Args:
      project: where it appears.
      directory: of the run; its last two parts name it.
      config: the arguments.
    """

    def __init__(self, project: str, directory: Path, config: dict[str, Any]):
        try:
            import wandb  # type: ignore[import-not-found]  # an extra
        except ImportError as error:
            raise UserError(
                f"--wandb {project}: the package wandb is missing; pip install 'deeplab[wandb]', or leave the flag out"
            ) from error
        name = "-".join(directory.parts[-2:])
        self._run = wandb.init(project=project, id=name, name=name, dir=str(directory), config=config, resume="allow")
        # An axis of our own: wandb's refuses to go back, and a resumed run goes back to its last checkpoint.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        self._run.log({"step": step, **{f"{split}/{name}": value for name, value in metrics.items()}})

    def close(self) -> None:
        self._run.finish()


@contextlib.contextmanager
def open(run: Run, *, wandb: str | None = None) -> Iterator[Write]:
    """Opens the sinks of a run, and gives the function that writes to them all.

    Args:
      run: restored to where this session begins; its `metrics.jsonl` is the first sink.
      wandb: the project, where Weights & Biases is asked for.
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
