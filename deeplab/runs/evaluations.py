"""Evaluations of a run after its training: `evaluations.jsonl`, a row each; of one split and step the last one counts.

They are apart from `metrics.jsonl`, whose rows are those of training alone and equal bit for bit after a resume.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab.core.text import dumps, read_evaluations
from deeplab.runs import storage
from deeplab.runs.fingerprint import fingerprints
from deeplab.runs.identity.provenance import now
from deeplab.runs.lock import unwritable

FILE = "evaluations.jsonl"


def add(directory: Path, step: int, split: str, metrics: Mapping[str, float], data: Mapping[str, Any]) -> None:
    """Records an evaluation, in one write.

    Args:
      directory: Run directory.
      step: Step of the evaluated state.
      split: Name of the split.
      metrics: Values by name.
      data: What identifies the split: number of `examples` and `digest`.
    """
    row = {"step": step, "split": split, "metrics": dict(metrics), "time": now(), "data": dict(data)}
    path, line = directory / FILE, (dumps(row) + "\n").encode()
    try:
        with path.open("ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END) and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                line = b"\n" + line  # a kill has left a part of a row
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise unwritable(path, error) from error


def read(directory: Path) -> list[dict[str, Any]]:
    """The recorded evaluations by step, each with `step`, `split`, `metrics`, `time` and `data`; [] without any."""
    return read_evaluations(directory / FILE)


def by_split(directory: Path) -> dict[str, dict[str, float]]:
    """Metrics of the last evaluated step of each split, by its name."""
    return {row["split"]: row["metrics"] for row in read(directory)}


def is_of_run(directory: Path, step: int, state: Any) -> bool:
    """Whether a state has the very bits of the run's checkpoint of a step; no array is loaded for it."""
    try:
        leaves = storage.read_manifest(directory / "checkpoints" / str(step))["leaves"]
    except storage.Damage:
        return False
    return fingerprints(state) == {name: leaf["fingerprint"] for name, leaf in leaves.items()}
