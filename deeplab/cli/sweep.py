"""`sweep`: settings times seeds, in few programs, on one page; finished runs are not trained again."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Literal

from rich.console import Console

from deeplab.cli.arguments import Invocation
from deeplab.cli.group import MembersFlags, joined_group, surroundings
from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.report.sweeps import sentences
from deeplab.search import axes
from deeplab.search.proposals import How
from deeplab.verbs.answers.folds import fold_axis
from deeplab.verbs.answers.trials import Trials
from deeplab.verbs.sweep import sweep


@dataclasses.dataclass(frozen=True)
class SweepFlags(MembersFlags):
    """Flags of sweep. An argument of the experiment takes a list, 0.0,0.1, or a range, 1e-4..1e-2:5.

    A range is logarithmic if its ends are above 0 and at least a factor of 10 apart; the prefix log: or lin: sets the
    spacing explicitly.

    Args:
      seeds: Runs of each setting, with the seeds from --seed on.
      search: Settings: all of a grid; drawn at random or quasi-random; or proposed by Optuna from what was seen (tpe).
      num_trials: Number of settings that are drawn or proposed.
      parallel_trials: Proposals made before their results are waited for.
      halving: Stop all but the best N-th part of the settings at each of a few rungs; left out, all run to the end.
      backend: Where runs are made: local, in this process; ray, each group of one shape as a trial of Ray Tune.
      test_split: Split on which each run is measured, too; the best setting is still chosen on the evaluation split.
    """

    seeds: int = 1
    search: How = "grid"
    num_trials: int = 16
    parallel_trials: int = 8
    halving: int | None = None
    backend: Literal["local", "ray"] = "local"
    test_split: str | None = None


@dataclasses.dataclass(frozen=True)
class FoldsFlags(SweepFlags):
    """Flags of cv. The arguments of the experiment are as those of sweep; the one of the fold is --folds.

    Args:
      folds: Number of folds, from the default of the argument that is annotated as dl.Fold on.
    """

    folds: int = 5


def cross_validate(call: Invocation, console: Console) -> dict[str, Any]:
    """Trains a run on each of --folds 5 parts of the data: mean, spread, and differences of settings.

    Returns:
      As `sweep`.
    """
    ranges.Range(at_least=2, whole=True).check("--folds", call.flags.folds)
    ((name, folds),) = fold_axis(call.recipe, call.flags.folds).items()
    given, default = call.arguments[name], inspect.signature(call.function).parameters[name].default
    if given.values != (default,):
        flag = name.replace("_", "-")
        raise UserError(
            f"cv --{flag} {given}: cv takes the folds from --folds; leave it out, or use sweep --{flag} {given}"
        )
    return run(dataclasses.replace(call, arguments=call.arguments | {name: axes.of(folds, int)}), console)


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Trains a run for each combination of values, such as --learning-rate 1e-3..1e-1:8 --seeds 4; goes on if stopped.

    Returns:
      run_dir, members, trained (number of runs trained by this call), seconds (of all runs), report, best (setting,
      score, command); after a signal run_dir, stopped (its exit code) and report (None).
    """
    flags: SweepFlags = call.flags
    trials = Trials(**{f.name: getattr(flags, f.name) for f in dataclasses.fields(Trials)})
    with joined_group(call, console) as watchdog, surroundings(call, watchdog, console) as around:
        found = sweep(
            call.recipe, call.arguments, trials=trials, many=flags.many(), run_dir=flags.run_dir or "auto",
            surroundings=around, test_split=flags.test_split,
        )  # fmt: skip
    result = {"run_dir": found.directory, "report": found.report}
    console.print(found, highlight=False, soft_wrap=True)
    if not found.summary:
        return result | {"stopped": found.stopped}
    console.print(f"report: {found.report}", highlight=False, soft_wrap=True)
    told = sentences.told(found.best, found.summary["metric"], found.summary["over"])
    which = "best" if len(found.summary["settings"]) > 1 else "result"
    console.print(f"{which}: {told}\n  {found.command}", highlight=False, soft_wrap=True)
    best = {"setting": found.best["setting"], "score": found.best["mean"], "command": found.command}
    seconds = round(sum(row["seconds"] for row in found.rows), 1)
    return result | {"members": len(found), "seconds": seconds, "trained": found.trained, "best": best}
