"""`sweep`: seeds times settings, as few programs, on one page; what has ended is not run again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from rich.console import Console

from deeplab.cli import cluster
from deeplab.cli.arguments import Invocation
from deeplab.cli.members import MembersFlags, Runner, Session, complete, local, name, publish, session
from deeplab.core.errors import UserError
from deeplab.core.monitor import Monitor
from deeplab.report.sweeps import page as page
from deeplab.runs import provenance, record
from deeplab.search.axes import Axis
from deeplab.search.groups import Member
from deeplab.search.proposals import How, Setting, search
from deeplab.search.runner import Row, Stopped


@dataclasses.dataclass(frozen=True)
class SweepFlags(MembersFlags):
    """Flags of sweep. An argument of the experiment takes a list, 0.0,0.1, or a range, 1e-4..1e-2:5.

    A range is even in the logarithm where its ends are above 0 and a factor of 10 apart; log: or lin: before it says
    so itself.

    Args:
      seeds: Runs of each setting, with the seeds from --seed on.
      search: Settings: all of a grid; drawn at random or quasi-random; or proposed by Optuna from what was seen (tpe).
      num_trials: How many settings are drawn or proposed.
      parallel_trials: Proposals made before their results are waited for.
      halving: Stop all but the best N-th part of the settings at each of a few rungs; left out, all run to the end.
      backend: local, in this process; ray, each group of one shape as a trial of Ray Tune, here or on a cluster.
    """

    seeds: int = 1
    search: How = "grid"
    num_trials: int = 16
    parallel_trials: int = 8
    halving: int | None = None
    backend: Literal["local", "ray"] = "local"


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Makes the runs that are missing, and writes `sweep.json` and `report.html`.

    Returns:
      run_dir, members, trained (how many of them by this call), seconds (of all), report, best (setting, score,
      command); of one that a signal has stopped run_dir, stopped (its exit code) and report (None).
    """
    flags: SweepFlags = call.flags
    axes, fixed = _split(call.arguments, flags)
    _check(call, axes, flags)
    source = provenance.source_of(call.function)
    texts = {k: fixed[k] if k in fixed else str(axis) for k, axis in call.arguments.items()}
    arguments = dataclasses.replace(call, arguments=texts).recipe.recorded | _identity(flags)
    directory = flags.run_dir or record.default_directory("runs", call.name, arguments, source, flags.seed)
    once = ("fresh", "allow_change")
    given = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags) if f.name not in once}
    command = call.command("sweep", **given)
    manifest = {"experiment": call.module, "arguments": arguments, "seed": flags.seed, "command": command,
                "task": "sweep", "num_steps": 0}  # fmt: skip
    monitor = call.recipe.build(**fixed | {k: axis.at(0.0) for k, axis in axes.items()}).monitor

    def open_run() -> record.Run:
        return record.Run.open(directory, manifest, source, fresh=flags.fresh, allow_change=flags.allow_change)

    with session(call, console, open_run) as now:
        try:
            rows, trained = _search(now, axes, fixed, monitor)
        except Stopped:
            return now.stopped()
        with now.setup.slow("the report"):
            now.held.update({"num_steps": len(rows)})
            views = {k: page.Axis(a.values, a.log, a.position, a.at) for k, a in axes.items()}
            summary = page.summarize(rows, views, monitor)
            best = summary["settings"][0]
            command = _train_command(call, fixed | best["setting"])
            summary |= {"command": command, "split": call.recipe.build(**rows[0]["arguments"]).data.eval_split}
            result = publish(now, "sweep", rows, summary, page.sections(summary, rows))
    console.print(f"best: {page.told(best, summary['metric'])}\n  {command}", highlight=False, soft_wrap=True)
    found = {"setting": best["setting"], "score": best["mean"], "command": command}
    return result | {"trained": trained, "best": found}


def _search(now: Session, axes: Mapping[str, Axis], fixed: Setting, monitor: Monitor) -> tuple[list[Row], int]:
    """The rows of all settings, one generation of them after another, and how many runs were made."""
    flags: SweepFlags = now.call.flags
    generations = search(axes, flags.search, flags.num_trials, flags.seed, flags.parallel_trials)
    seeds, rows, trained = range(flags.seed, flags.seed + flags.seeds), [], 0
    settings = next(generations, None)
    while settings is not None:
        wanted = [Member(fixed | setting, seed) for setting in settings for seed in seeds]
        made, count = complete(now, wanted, _runner(now))
        rows, trained = rows + made, trained + count
        try:
            settings = generations.send(_scores(made, len(seeds), monitor))
        except StopIteration:
            settings = None
    return list({name(row["arguments"], row["seed"]): row for row in rows}.values()), trained


def _runner(now: Session) -> Runner:
    flags: SweepFlags = now.call.flags
    return cluster.runner(now) if flags.backend == "ray" else local(now.setup, flags.halving)


def _scores(rows: Sequence[Row], seeds: int, monitor: Monitor) -> list[float]:
    """Of each setting, whose rows stand together: the mean over its seeds at the last step; -inf where one diverged."""
    last = [-math.inf if row["diverged"] else monitor.score(_finite(row)) for row in rows]
    return np.array(last).reshape(-1, seeds).mean(axis=1).tolist()


def _finite(row: Row) -> dict[str, float]:
    """The metrics of the last evaluation; what JSON holds as null is NaN."""
    return {k: math.nan if value is None else value for k, value in row["curve"][-1]["evaluation"].items()}


def _split(arguments: Mapping[str, Axis], flags: SweepFlags) -> tuple[dict[str, Axis], Setting]:
    """Arguments that differ, and the values of those that do not."""
    drawn = {k: axis if flags.search == "grid" else axis.drawn() for k, axis in arguments.items()}
    axes = {k: axis for k, axis in drawn.items() if not axis.fixed}
    return axes, {k: axis.values[0] for k, axis in drawn.items() if axis.fixed}


def _identity(flags: SweepFlags) -> dict[str, Any]:
    """What makes it another sweep; more seeds or more draws do not, but where members are compared with one another."""
    compared = {"halving": flags.halving, "settings": flags.num_trials, "seeds": flags.seeds} if flags.halving else {}
    how = {} if flags.search == "grid" else {"how": flags.search}
    learnt = (
        {"settings": flags.num_trials, "seeds": flags.seeds, "together": flags.parallel_trials}
        if flags.search == "tpe"
        else {}
    )
    return {"verb": "sweep"} | how | compared | learnt


def _check(call: Invocation, axes: Mapping[str, Axis], flags: SweepFlags) -> None:
    """Refuses what makes no sense."""
    if flags.backend == "ray" and (flags.processes or flags.num_processes or flags.coordinator):
        raise UserError("--backend ray starts the processes of its trials itself; leave --processes and --coordinator")
    for what in ("seeds", "num_trials", "parallel_trials"):
        if getattr(flags, what) < 1:
            raise UserError(f"--{what.replace('_', '-')} {getattr(flags, what)}: expected 1 or more")
    if not axes and flags.seeds == 1:
        raise UserError(
            "one setting and one seed are one run, and that is what train does; give an argument many values, such as "
            "--learning-rate 1e-3..1e-1:8, or more --seeds"
        )
    if not axes and flags.search != "grid":
        raise UserError(f"--search {flags.search}: no argument has many values; give one a range, such as 1e-3..1e-1")
    if flags.halving is None:
        return
    if flags.halving < 2:
        raise UserError(f"--halving {flags.halving}: the best N-th part goes on, with N of 2 or more; usual is 3")
    if flags.backend == "ray" or flags.search == "tpe":
        other = (
            "--backend ray, whose groups run apart" if flags.backend == "ray" else "--search tpe, which waits for ends"
        )
        raise UserError(f"--halving compares all settings at each rung, and cannot go with {other}")


def _train_command(call: Invocation, setting: Setting) -> str:
    """The command that trains one setting alone."""
    alone = dataclasses.replace(call, arguments={k: setting[k] for k in call.arguments})
    return alone.command("train", run_dir=None, mesh="auto")
