"""The runs below a folder, a line each."""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab.core.errors import UserError
from deeplab.report.comparison import differing_arguments
from deeplab.report.files import read_object
from deeplab.report.record import RunRecord, read
from deeplab.report.text import duration, metric, number

if TYPE_CHECKING:
    from rich.table import Table

MARKS = {"run.json", "metrics.jsonl", "result.json", "checkpoints"}
"""A folder that holds any of these is a run directory, or was meant to be one."""

MANY = ("sweep", "study")
"""Kinds of run directories that hold many runs."""

_COLORS = {"finished": "green", "running": "cyan", "stopped": "yellow", "unfinished": "yellow"}  # others are red


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """One line about a run.

    Attributes:
      directory: Path of the run directory.
      name: Its path below the folder searched.
      status: "finished", "running", "stopped" (saved, to go on), "crashed", "diverged", "unfinished" (killed) or
        "broken".
      kind: "run", or "sweep" or "study" of a directory of many runs, whose steps are its runs.
      experiment: Name of the experiment's module.
      arguments: Arguments by name.
      differing: Those arguments by which the runs of this experiment differ.
      seed: Seed of the run; None where unknown.
      smoke: Whether it is a smoke run, on synthetic data.
      step: Last known step.
      num_steps: Length of the whole training run, in steps.
      headline: Last result, such as "99.17 % test accuracy"; empty before the first evaluation.
      metrics: Last metrics by split.
      seconds: Training time; None where unknown.
      started: Start of the first session as an ISO time; empty where unknown.
      age: Seconds since the last session began; None where unknown.
      problem: Reason why the run is broken, has crashed, or was stopped; empty where it is not.

    Example:
      >>> summary = RunSummary(Path("runs/a"), "a", "finished", step=100, num_steps=100)
      >>> summary.status, summary.step / summary.num_steps
      ('finished', 1.0)
    """

    directory: Path
    name: str
    status: str
    kind: str = "run"
    experiment: str = ""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    differing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int | None = None
    smoke: bool = False
    step: int = 0
    num_steps: int = 0
    headline: str = ""
    metrics: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    started: str = ""
    age: float | None = None
    problem: str = ""

    @property
    def told(self) -> str:
        """The arguments that differ, in a line; "smoke" and the kind of a directory of many runs stand before them."""
        marks = ["smoke"] * self.smoke + [self.kind] * (self.kind in MANY)
        return ", ".join([*marks, *(f"{name} {value}" for name, value in self.differing.items())])


def find(root: str | Path) -> list[RunSummary]:
    """The runs in or below a folder, the most recent first and broken ones last.

    Args:
      root: Folder to search.

    Raises:
      UserError: `root` is not a folder.

    Example:
      >>> import tempfile
      >>> find(tempfile.mkdtemp())
      []
    """
    root = Path(os.path.expanduser(root)).resolve()
    if not root.is_dir():
        raise UserError(f"{root} is no folder; expected the folder that holds the runs, such as ./runs")
    found = []
    for folder, inside, files in os.walk(root):
        if MARKS & {*inside, *files}:
            found.append(_summary(Path(folder), root))
            inside.clear()  # folders in a run directory belong to the run
    names: dict[str, list[str]] = {}
    for experiment in {run.experiment for run in found}:
        same = [run.arguments for run in found if run.experiment == experiment and run.status != "broken"]
        names[experiment] = differing_arguments(same)
    found = [
        dataclasses.replace(run, differing={k: run.arguments[k] for k in names[run.experiment] if k in run.arguments})
        for run in found
    ]
    return sorted(found, key=lambda run: (run.started, run.name), reverse=True)


def table(runs: Sequence[RunSummary]) -> Table:
    """Summaries as a table of rich, for the terminal.

    Example:
      >>> table([]).row_count
      0
    """
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("run", "arguments", "seed", "status", "step", "result", "time", "age"):
        justify = "right" if column in ("seed", "step", "time", "age") else "left"
        out.add_column(column, justify=justify, no_wrap=column in ("seed", "status", "time", "age"), overflow="fold")
    for run in runs:
        # Text, not str: brackets in a name are not rich's markup.
        status = Text(run.status, style=_COLORS.get(run.status, "red"))
        if run.status == "broken":
            out.add_row(Text(run.name), "", "", status, "", Text(run.problem), "", "")
            continue
        result = "; ".join(filter(None, [run.headline, run.problem]))
        seed = "" if run.seed is None else str(run.seed)
        cells = (Text(run.told), seed, status, _progress(run), Text(result), duration(number(run.seconds)), _age(run))
        out.add_row(Text(run.name), *cells)
    return out


def _progress(run: RunSummary) -> str:
    what = " runs" if run.kind in MANY else ""
    if run.step == run.num_steps or not run.num_steps:
        return f"{run.step:,}{what}"
    share = f" ({100 * run.step / run.num_steps:.0f} %)" if run.status == "running" else ""
    return f"{run.step:,} of {run.num_steps:,}{what}{share}"


def _age(run: RunSummary) -> str:
    """Time since the last session began, in one unit."""
    if run.age is None:
        return ""
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if run.age >= seconds:
            return f"{run.age / seconds:.0f} {unit}"
    return f"{run.age:.0f} s"


def _summary(directory: Path, root: Path) -> RunSummary:
    name = str(directory.relative_to(root)) if directory != root else directory.name
    try:
        run = read(directory)
    except UserError as error:
        # The line names the directory already.
        return RunSummary(directory, name, "broken", problem=str(error).removeprefix(f"{directory}").lstrip("/ "))
    kind = str(run.record.get("task"))
    kind = kind if kind in MANY else "run"
    arguments = {k: v for k, v in run.arguments.items() if k not in ("seed", "smoke", "verb")}
    step = run.step if kind == "run" else _lines(directory / "members.jsonl")
    ended = run.ended if run.status in ("crashed", "stopped") else None
    problem = str((ended or run.failure or {}).get("message", "")) if run.status in ("crashed", "diverged") else ""
    return RunSummary(
        directory=directory,
        name=name,
        status=run.status,
        kind=kind,
        experiment=str(run.record["experiment"]),
        arguments=arguments,
        seed=run.record.get("seed"),
        smoke=bool(run.arguments.get("smoke")),
        step=step,
        num_steps=run.num_steps,
        headline=_best(directory, kind) if kind in MANY else "; ".join(filter(None, [_headline(run), run.told_early])),
        metrics={split: run.last(split)[1] for split in run.splits},
        seconds=run.seconds if math.isfinite(run.seconds) else None,
        started=str(run.record.get("started") or ""),
        age=_seconds_since(run.record.get("session") or run.record.get("started")),
        problem=problem or str((ended or {}).get("message", "")),
    )


def _headline(run: RunRecord) -> str:
    """The headline, and the same metric of the splits that were evaluated after training."""
    last = run.headline
    if last is None:
        return ""
    others = {row["split"]: row["metrics"] for row in run.evaluations if row["split"] not in (last.split, "train")}
    values = {last.split: last.value} | {s: number(m[last.metric]) for s, m in others.items() if last.metric in m}
    return ", ".join(f"{metric(last.metric, value)} {split} {last.metric}" for split, value in values.items())


def _best(directory: Path, kind: str) -> str:
    """The best setting of a sweep, in a line."""
    found = (read_object(directory / "sweep.json") or {}) if kind == "sweep" else {}
    try:
        summary = found["summary"]
        best, name = summary["settings"][0], str(summary["metric"])
        setting = ", ".join(f"{key} {value}" for key, value in best["setting"].items())
        return f"best {metric(name, number(best['mean']))} {name}" + (f" at {setting}" if setting else "")
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _seconds_since(time: Any) -> float | None:
    try:
        then = datetime.datetime.fromisoformat(str(time)).astimezone()
    except ValueError:
        return None
    return max(0.0, (datetime.datetime.now().astimezone() - then).total_seconds())
