"""The run directory of several processes: process 0 writes it, and the others know its path."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deeplab.core.errors import UserError
from deeplab.runs import record, storage, writers
from deeplab.runs.fingerprint import fingerprints
from deeplab.scale import processes


class NonPrimaryRun:
    """The counterpart of `record.Run` in the processes that do not write.

    Attributes:
      directory: Path of the run directory.
      sessions: Number of earlier sessions of the run.
      step: First step of this session.
    """

    def __init__(self, directory: Path, sessions: int):
        self.directory, self.sessions, self.step = directory, sessions, 0

    def restore(self, step: int) -> None:
        """Sets the first step of this session."""
        self.step = step

    def go_on(self) -> None:
        """Does nothing: process 0 removes `ended.json`."""

    def update(self, metadata: Mapping[str, Any]) -> None:
        """Does nothing: process 0 writes `run.json`."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Does nothing: process 0 writes `result.json`."""

    def end(self, status: str, message: str, step: int = 0) -> None:
        """Does nothing: process 0 writes `ended.json`."""

    def save_failure(self, step: int, state: Any, batch: Any, origin: Any, message: str) -> Path:
        """Writes this process's shards of the state and the batch; see `record.Run.save_failure`."""
        folder, tree = self.directory / "failure", {"state": state, "batch": batch}
        storage.write(folder / "state", tree, list(fingerprints(tree).values()), step=step, metrics={}, extra={})
        return folder


@contextlib.contextmanager
def shared(open_run: Callable[[], record.Run]) -> Iterator[record.Run | NonPrimaryRun]:
    """A context with the run, which process 0 opens for all processes.

    Args:
      open_run: Opens the run directory; called in process 0 only.

    Raises:
      UserError: A process does not see the directory, so that it could not write its part of a checkpoint.
    """
    with contextlib.ExitStack() as closing:
        run = closing.enter_context(open_run()) if processes.is_primary() else None
        name, sessions = processes.allgather_json(run and [str(run.directory), run.sessions])[0]
        directory = Path(name)
        visible = processes.allgather_json((directory / "run.json").exists())
        if not all(visible):
            missing = ", ".join(str(rank) for rank, exists in enumerate(visible) if not exists)
            raise UserError(
                f"{directory}, created by process 0, does not exist for process {missing}: give --run-dir a directory "
                "on a file system that all processes share"
            )
        yield run or NonPrimaryRun(directory, sessions)


@contextlib.contextmanager
def sinks(run: record.Run | NonPrimaryRun, wandb: str | None) -> Iterator[writers.Write]:
    """A context with the function that writes metrics; in other processes than process 0 it does nothing.

    Args:
      run: Run, from `shared`.
      wandb: Project in Weights & Biases; None to not log there.
    """
    if isinstance(run, NonPrimaryRun):
        yield lambda step, split, metrics: None
    else:
        with writers.open(run, wandb=wandb) as write:
            yield write
