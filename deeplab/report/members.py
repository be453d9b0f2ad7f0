"""The runs of a sweep or a study as records, so that they are compared as runs of their own are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab.core.text import loads
from deeplab.report.record import RunRecord, read


def read_all(directory: Path) -> list[RunRecord]:
    """The run of a directory; of a sweep or a study, the runs that have ended.

    Raises:
      UserError: The directory holds no run.
    """
    whole = read(directory)
    if whole.record.get("task") not in ("sweep", "study"):
        return [whole]
    rows = map(_row, (whole.text("members.jsonl") or "").splitlines())
    return [_member(whole, row) for row in rows if row is not None]


def _row(line: str) -> dict[str, Any] | None:
    """The row of a member; None for a line that is none, such as the part of one that a kill has left."""
    try:
        row = loads(line)
        return row if {"arguments", "seed", "steps", "curve"} <= row.keys() else None
    except (ValueError, RecursionError, AttributeError):
        return None


def _member(whole: RunRecord, row: Mapping[str, Any]) -> RunRecord:
    splits = (whole.record.get("data") or {}).get("splits") or {}
    split, steps = next((name for name in splits if name != "train"), "evaluation"), int(row["steps"])
    rows = [
        {"step": point["step"], "split": name, **values}
        for point in row["curve"]
        for name, values in (("train", point["train"]), (split, point["evaluation"]))
    ]
    shared = ("experiment", "monitor", "git", "devices", "device_kind", "versions", "headline")
    record = {name: whole.record[name] for name in shared if name in whole.record}
    # One that was pruned or diverged has not come to its last step.
    left = bool(row.get("stopped") or row.get("diverged"))
    record |= {"arguments": row["arguments"], "seed": row["seed"], "num_steps": steps + left}
    ended = {"status": "stopped", "message": "pruned"} if row.get("stopped") else None
    failure = {"step": steps} if row.get("diverged") else None
    result = {"step": steps, "seconds": row.get("seconds")}
    return RunRecord(whole.directory, record, rows, result=result, failure=failure, ended=ended)
