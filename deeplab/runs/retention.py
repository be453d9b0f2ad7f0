"""The folder of a run's checkpoints: which steps it holds, and which of them are kept.

It holds `STEP/` for each checkpoint, and temporarily `STEP.new...` or `STEP.deleting`: complete checkpoints appear and
disappear by a rename, so that a kill at any time leaves complete checkpoints only.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from deeplab.core.monitor import Monitor
from deeplab.runs import storage

_LEFTOVER = re.compile(rf"\d+\.deleting|{storage.PARTIAL}")


class Folder:
    """The checkpoints on disk; see `Checkpoints` for its arguments."""

    def __init__(self, directory: Path, keep: int, best: Monitor | None, keep_best: int):
        self._directory, self._keep, self._best, self._keep_best = directory, keep, best, keep_best
        self._scores: dict[int, float | None] = {}

    def path(self, step: int) -> Path:
        """Path of the checkpoint of a step."""
        return self._directory / str(step)

    def numbered(self) -> list[int]:
        """Steps that have a folder, ascending; it may be empty."""
        names = [name for name in self._names() if re.fullmatch("0|[1-9][0-9]*", name)]
        return sorted(int(name) for name in names if (self._directory / name).is_dir())

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return [step for step in self.numbered() if any(self.path(step).iterdir())]

    def warn_of_strays(self) -> None:
        """Warns of what is in the folder and is no checkpoint."""
        known = {str(step) for step in self.steps()}
        strays = [name for name in self._names() if name not in known and not _LEFTOVER.fullmatch(name)]
        if strays:
            warnings.warn(f"no checkpoints, ignored: {', '.join(strays[:12])} in {self._directory}", stacklevel=4)

    def check_space(self, state: Any) -> None:
        """Raises an `OSError` if the disk has no room for a state."""
        needed, free = sum(x.nbytes for x in jax.tree.leaves(state)), shutil.disk_usage(self._directory).free
        if free < needed:
            text = f"{needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB free"
            raise OSError(errno.ENOSPC, text, str(self._directory))

    def sweep(self) -> None:
        """Removes remains of killed or failed saves and deletions."""
        for name in filter(_LEFTOVER.fullmatch, self._names()):
            shutil.rmtree(self._directory / name, ignore_errors=True)

    def discard(self, step: int) -> None:
        """Deletes a checkpoint; it is renamed first, so that a kill leaves no partial checkpoint."""
        path = self.path(step)
        if path.exists():
            doomed = path.with_name(f"{path.name}.deleting")
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)  # the next save removes the remains

    def score(self, step: int, metrics: Mapping[str, float]) -> None:
        """Notes the score of a checkpoint by the metrics that it was saved with."""
        self._scores[step] = self._best.score(metrics) if self._best and self._best.name in metrics else None

    def prune(self, last: int) -> None:
        """Deletes the checkpoints that are not kept, and those after the step `last`."""
        steps = self.numbered()
        past = [step for step in steps if step <= last]
        kept = {*past[-self._keep :], *self.ranked(past)[: self._keep_best]}
        for step in steps:
            if step not in kept:
                self.discard(step)

    def ranked(self, steps: list[int]) -> list[int]:
        """Steps with a finite score, the best first, the earlier one of equals first."""
        for step in steps:
            if step not in self._scores:
                try:
                    self.score(step, storage.read_manifest(self.path(step))["metrics"])
                except storage.Damage:
                    self._scores[step] = None
        scores = {step: score for step in steps if (score := self._scores[step]) is not None and math.isfinite(score)}
        return sorted(scores, key=lambda step: (-scores[step], step))

    def _names(self) -> list[str]:
        return sorted(os.listdir(self._directory)) if self._directory.is_dir() else []
