"""The runs below a folder, a line each."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab.core.errors import UserError
from deeplab.report.record import number, read
from deeplab.report.text import duration, metric

if TYPE_CHECKING:
    from rich.table import Table

MARKS = {"run.json", "metrics.jsonl", "result.json", "checkpoints"}
"""A folder that holds any of these is a run directory, or was meant to be one."""


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """One line about a run.

    Attributes:
      directory: Path of the run directory.
      name: Its path below the folder searched.
      status: "finished", "unfinished" (stopped, or still running), "diverged" or "broken".
      step: Last known step.
      num_steps: Length of the whole training run, in steps.
      headline: Last result, such as "99.17 % test accuracy"; empty before the first evaluation.
      seconds: Training time; None where unknown.
      started: Start as an ISO time; empty where unknown.
      problem: Reason why the run is broken; empty where it is not.
    """

    directory: Path
    name: str
    status: str
    step: int = 0
    num_steps: int = 0
    headline: str = ""
    seconds: float | None = None
    started: str = ""
    problem: str = ""


def find(root: str | Path) -> list[RunSummary]:
    """The runs in or below a folder, the most recent first and broken ones last.

    Args:
      root: Folder to search.

    Raises:
      UserError: `root` is not a folder.
    """
    root = Path(root).resolve()
    if not root.is_dir():
        raise UserError(f"{root} is no folder; expected the folder that holds the runs, such as ./runs")
    found = []
    for folder, inside, files in os.walk(root):
        if MARKS & {*inside, *files}:
            found.append(_summary(Path(folder), root))
            inside.clear()  # folders in a run directory belong to the run
    return sorted(found, key=lambda run: (run.started, run.name), reverse=True)


def table(runs: Sequence[RunSummary]) -> Table:
    """Summaries as a table of rich, for the terminal."""
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("run", "status", "step", "result", "time", "started"):
        justify = "right" if column in ("step", "time") else "left"
        out.add_column(column, justify=justify, no_wrap=column not in ("run", "result"), overflow="fold")
    colors = {"finished": "green", "broken": "red", "diverged": "red", "unfinished": "yellow"}
    for run in runs:
        # Text, not str: brackets in a name are not rich's markup.
        status = Text(run.status, style=colors[run.status])
        if run.problem:
            out.add_row(Text(run.name), status, "", Text(run.problem), "", "")
            continue
        step = f"{run.step:,}" + (f" of {run.num_steps:,}" if run.step != run.num_steps else "")
        started = run.started.replace("T", " ")[5:16]
        out.add_row(Text(run.name), status, step, Text(run.headline), duration(number(run.seconds)), Text(started))
    return out


def _summary(directory: Path, root: Path) -> RunSummary:
    name = str(directory.relative_to(root)) if directory != root else directory.name
    try:
        run = read(directory)
        last = run.headline
        return RunSummary(
            directory=directory,
            name=name,
            status=run.status,
            step=run.step,
            num_steps=run.num_steps,
            headline=f"{metric(last.metric, last.value)} {last.split} {last.metric}" if last else "",
            seconds=run.seconds if math.isfinite(run.seconds) else None,
            started=str(run.record.get("started") or ""),
        )
    except UserError as error:
        # The line names the directory already.
        return RunSummary(directory, name, "broken", problem=str(error).removeprefix(f"{directory}").lstrip("/ "))
