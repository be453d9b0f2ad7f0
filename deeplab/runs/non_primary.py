"""The run directory of several processes: the first writes it, and the others know where it is."""

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
    """What `record.Run` is to the process that writes, without a write.

    Attributes:
      directory: where it is.
      sessions: how many processes, or groups of them, have worked on the run before.
      step: where this session begins.
    """

    def __init__(self, directory: Path, sessions: int):
        self.directory, self.sessions, self.step = directory, sessions, 0

    def restore(self, step: int) -> None:
        self.step = step

    def update(self, facts: Mapping[str, Any]) -> None:
        """Nothing: the first process writes them."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Nothing: the first process writes it."""

    def save_failure(self, step: int, state: Any, batch: Any, origin: Any, message: str) -> Path:
        """Writes this process' part of the arrays."""
        folder, tree = self.directory / "failure", {"state": state, "batch": batch}
        storage.write(folder / "state", tree, list(fingerprints(tree).values()), step=step, metrics={}, extra={})
        return folder


@contextlib.contextmanager
def shared(open_run: Callable[[], record.Run]) -> Iterator[record.Run | NonPrimaryRun]:
    """The run: opened by the first process, whose directory is that of all.

    Raises:
      UserError: a process does not see that directory; checkpoints could not be written together.
    """
    with contextlib.ExitStack() as closing:
        run = closing.enter_context(open_run()) if processes.is_primary() else None
        name, sessions = processes.allgather_json(run and [str(run.directory), run.sessions])[0]
        directory = Path(name)
        blind = [
            rank for rank, sees in enumerate(processes.allgather_json((directory / "run.json").exists())) if not sees
        ]
        if blind:
            raise UserError(
                f"{directory}, which process 0 has made, is not there for process {', '.join(map(str, blind))}: give "
                "--run-dir a directory on a file system that all processes share"
            )
        yield run or NonPrimaryRun(directory, sessions)


@contextlib.contextmanager
def sinks(run: record.Run | NonPrimaryRun, wandb: str | None) -> Iterator[writers.Write]:
    """Where metrics go: from the other processes, nowhere."""
    if isinstance(run, NonPrimaryRun):
        yield lambda step, split, metrics: None
    else:
        with writers.open(run, wandb=wandb) as write:
            yield write
