"""`sweep`: seeds times settings, as few programs, on one page; what has ended is not run again."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from deeplab.core import ranges
from deeplab.core.errors import UserError, nearest
from deeplab.core.monitor import Monitor
from deeplab.core.printable import Printable
from deeplab.report.sweeps import page
from deeplab.runs import record
from deeplab.runs.identity.purity import pure
from deeplab.search import axes as search_axes
from deeplab.search.axes import Axis
from deeplab.search.groups import Member
from deeplab.search.proposals import How, Setting, search
from deeplab.search.setup import Row, Stopped
from deeplab.verbs import ray_trials
from deeplab.verbs.fit import Surroundings
from deeplab.verbs.many import Many, Session, complete, local, name, publish, session
from deeplab.verbs.recipe import Recipe


@dataclasses.dataclass(frozen=True)
@ranges.checked(num_trials=ranges.COUNT, parallel_trials=ranges.COUNT, halving=ranges.Range(at_least=2))
class Trials:
    """Which settings a sweep tries.

    Args:
      search: "grid" for all combinations; "random" or "quasi" for draws; "tpe" for proposals of Optuna that learn from
        what has ended.
      num_trials: Number of settings that are drawn or proposed.
      parallel_trials: Number of proposals made before their results are waited for.
      halving: Factor of successive halving: the best N-th part of the settings goes on from each rung; all run to the
        end when None.
      backend: "local" for this process; "ray" for each group of one shape as a trial of Ray Tune.
    """

    search: How = "grid"
    num_trials: int = 16
    parallel_trials: int = 8
    halving: int | None = None
    backend: Literal["local", "ray"] = "local"

    def flags(self) -> dict[str, Any]:
        """Flags of the command line that tries the same settings."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(Trials(), k)}

    def identity(self, seeds: int) -> dict[str, Any]:
        """What makes it another sweep; more seeds or draws do not, but where runs are compared with one another."""
        compared = {"halving": self.halving, "settings": self.num_trials, "seeds": seeds} if self.halving else {}
        how = {} if self.search == "grid" else {"how": self.search}
        learned = {"settings": self.num_trials, "seeds": seeds, "together": self.parallel_trials}
        return {"verb": "sweep"} | how | compared | (learned if self.search == "tpe" else {})


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep(Printable):
    """The rows of a sweep, and what they say.

    Attributes:
      rows: One row a run: `arguments`, `seed`, `curve`, `steps`, `diverged` and others; JSON.
      summary: Settings ordered by score, and what each argument does; {} where a signal has stopped the sweep.
      trained: Number of runs made by this call; the others had ended before.
      directory: Run directory; None where nothing was written.
      report: Path of the page; None where there is none.
      command: Command that trains the best setting alone; "" where there is none.
      stopped: Exit code of the signal that stopped the sweep; None where none did.
    """

    rows: Sequence[Row]
    summary: Mapping[str, Any]
    trained: int
    directory: Path | None = None
    report: Path | None = None
    command: str = ""
    stopped: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Any:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    @property
    def best(self) -> Mapping[str, Any]:
        """The best setting: `setting` (arguments by name), `mean`, `values` of its seeds."""
        return self.summary["settings"][0]

    @property
    def frame(self) -> Any:
        """The runs as a pandas data frame: arguments, seed, and the metrics of the last evaluation."""
        try:
            import pandas as pd
        except ImportError as error:
            raise UserError("the frame is one of pandas: pip install pandas; or read the rows") from error
        last = [row["curve"][-1]["evaluation"] if row["curve"] else {} for row in self.rows]
        return pd.DataFrame(
            [{**row["arguments"], "seed": row["seed"], **metrics} for row, metrics in zip(self.rows, last, strict=True)]
        )

    def __rich__(self) -> Any:
        from rich.table import Table

        if not self.summary:
            return "stopped and saved; run the same command again to resume"
        table = Table("setting", self.summary["metric"], box=None)
        for found in self.summary["settings"][:10]:
            setting = ", ".join(f"{k} {v}" for k, v in found["setting"].items()) or "all as given"
            table.add_row(setting, f"{found['mean']:.4g}")
        return table


@ranges.checked(seeds=ranges.COUNT)
def sweep(
    experiment: Any,
    axes: Mapping[str, Any],
    *,
    seeds: int = 1,
    trials: Trials = Trials(),
    many: Many | None = None,
    run_dir: str | Path | None = None,
    surroundings: Surroundings = Surroundings(),
    **options: Any,
) -> Sweep:
    """Trains an experiment at many settings, with every seed; runs that differ in floats and seeds are one program.

    Args:
      experiment: Function of hyper-parameters, or a `functools.partial` of it.
      axes: Values of arguments by name: a sequence, one value, or a text such as "1e-4..1e-1:8" or "16,32".
      seeds: Number of runs of each setting, with the seeds from `seed` on.
      trials: Which settings are tried.
      many: How the runs are made.
      run_dir: Run directory, in which the same call goes on; nothing is written when None.
      surroundings: Effects of a command line or a notebook.
      **options: Further fields of `Recipe`: `seed`, `runtime`, `data_dir`, `smoke`.

    Raises:
      UserError: An argument is not the experiment's, the options contradict each other, or there is but one run.

    Example:
      >>> import functools
      >>> from experiments.image_digits import experiment
      >>> small = functools.partial(experiment, epochs=1, width=4)
      >>> rows = sweep(small, {"learning_rate": [1e-3, 3e-3]}, seeds=2)
      >>> [(row["arguments"]["learning_rate"], row["seed"]) for row in rows]
      [(0.001, 0), (0.001, 1), (0.003, 0), (0.003, 1)]
    """
    recipe, many = Recipe.of(experiment, **options), many or Many(seeds)
    given = _axes(recipe, axes)
    drawn = {k: axis if trials.search == "grid" else axis.drawn() for k, axis in given.items()}
    varied = {k: axis for k, axis in drawn.items() if not axis.fixed}
    fixed = dict(recipe.arguments) | {k: axis.values[0] for k, axis in drawn.items() if axis.fixed}
    fixed = {k: v for k, v in fixed.items() if k not in varied}
    _check(trials, many.seeds, varied)
    texts = {k: fixed[k] if k in fixed else str(varied[k]) for k in recipe.arguments}
    named = dataclasses.replace(recipe, arguments=texts)
    arguments = named.recorded | trials.identity(many.seeds)
    directory = None if run_dir is None else Path(run_dir)
    if directory is not None and str(directory) == "auto":
        directory = record.default_directory("runs", recipe.name, arguments, recipe.source, recipe.seed)
    flags = {"run_dir": None if run_dir in (None, "auto") else run_dir} | many.flags() | trials.flags()
    manifest = {"experiment": recipe.module, "arguments": arguments, "seed": recipe.seed,
                "command": named.command("sweep", **flags), "task": "sweep", "num_steps": 0}  # fmt: skip
    start = fixed | {k: axis.at(0.0) for k, axis in varied.items()}
    first = pure(recipe.build, **start)
    for k, axis in varied.items():
        for value in axis.values or (axis.low, axis.high):
            recipe.build(**start | {k: value})  # A number out of its range is refused here; later it is a tracer.
    with session(recipe, many, directory, manifest, surroundings, first.data) as now:
        try:
            rows, trained = _search(now, trials, varied, fixed, first.monitor)
        except Stopped:
            stopped = surroundings.exit_code()
            return Sweep((), {}, 0, now.held and now.held.directory, stopped=stopped)
        with now.setup.slow("the report"):
            return _finished(now, rows, trained, varied, fixed, first.monitor)


def _axes(recipe: Recipe, axes: Mapping[str, Any]) -> dict[str, Axis]:
    """The axes of what a caller gives, by the types of the experiment's arguments."""
    parameters = inspect.signature(recipe.function).parameters
    if unknown := [key for key in axes if key not in parameters]:
        raise UserError(f"the experiment takes no argument {unknown[0]!r}; {nearest(unknown[0], parameters)}")
    hints = typing.get_type_hints(inspect.unwrap(recipe.function), include_extras=True)
    return {key: search_axes.of(value, hints.get(key, str)) for key, value in axes.items()}


def _finished(
    now: Session, rows: list[Row], trained: int, axes: Mapping[str, Axis], fixed: Setting, monitor: Monitor
) -> Sweep:
    views = {k: page.Axis(a.values, a.log, a.position, a.at) for k, a in axes.items()}
    summary = page.summarize(rows, views, monitor)
    best = fixed | summary["settings"][0]["setting"]
    alone = dataclasses.replace(
        now.recipe,
        arguments={k: best[k] for k in now.recipe.arguments},
        runtime=dataclasses.replace(now.recipe.runtime, mesh="auto"),
    )
    command = alone.command("train")
    summary |= {"command": command, "split": now.recipe.build(**rows[0]["arguments"]).data.eval_split}
    if now.held is None:
        return Sweep(rows, summary, trained, command=command)
    now.held.update({"num_steps": len(rows)})
    report = publish(now, "sweep", rows, summary, page.sections(summary, rows))
    return Sweep(rows, summary, trained, now.held.directory, report, command)


def _search(
    now: Session, trials: Trials, axes: Mapping[str, Axis], fixed: Setting, monitor: Monitor
) -> tuple[list[Row], int]:
    """The rows of all settings, one generation of them after another, and how many runs were made."""
    generations = search(axes, trials.search, trials.num_trials, now.recipe.seed, trials.parallel_trials)
    runner = ray_trials.runner(now) if trials.backend == "ray" else local(now.setup, trials.halving)
    rows, trained = [], 0
    settings = next(generations, None)
    while settings is not None:
        wanted = [Member(fixed | setting, seed) for setting in settings for seed in now.seeds]
        made, count = complete(now, wanted, runner)
        rows, trained = rows + made, trained + count
        try:
            settings = generations.send(_scores(made, len(now.seeds), monitor))
        except StopIteration:
            settings = None
    return list({name(row["arguments"], row["seed"]): row for row in rows}.values()), trained


def _scores(rows: Sequence[Row], seeds: int, monitor: Monitor) -> list[float]:
    """Of each setting, whose rows stand together: the mean over its seeds at the last step; -inf where one diverged."""
    last = [-math.inf if row["diverged"] else monitor.score(_finite(row)) for row in rows]
    return np.array(last).reshape(-1, seeds).mean(axis=1).tolist()


def _finite(row: Row) -> dict[str, float]:
    """The metrics of the last evaluation; NaN was null in earlier versions."""
    return {k: math.nan if value is None else value for k, value in row["curve"][-1]["evaluation"].items()}


def _check(trials: Trials, seeds: int, axes: Mapping[str, Axis]) -> None:
    """Refuses what makes no sense."""
    if trials.backend == "ray" and jax.process_count() > 1:
        raise UserError("--backend ray starts the processes of its trials itself; leave --processes and --coordinator")
    if not axes and seeds == 1:
        raise UserError(
            "one setting and one seed are one run, and that is what train does; give an argument many values, such as "
            "--learning-rate 1e-3..1e-1:8, or more --seeds"
        )
    if not axes and trials.search != "grid":
        raise UserError(f"--search {trials.search}: no argument has many values; give one a range, such as 1e-3..1e-1")
    if trials.halving is None:
        return
    if trials.backend == "ray" or trials.search == "tpe":
        other = (
            "--backend ray, whose groups run apart" if trials.backend == "ray" else "--search tpe, which waits for ends"
        )
        raise UserError(f"--halving compares all settings at each rung, and cannot go with {other}")
