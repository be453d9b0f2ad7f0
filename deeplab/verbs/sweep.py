"""`sweep`: seeds times settings, as few programs, on one page; what has ended is not run again."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core import ranges
from deeplab.core.arguments import alternatives
from deeplab.core.errors import UserError, nearest
from deeplab.core.monitor import Monitor
from deeplab.core.text import dumps, loads
from deeplab.experiment import Experiment, fold_argument
from deeplab.report.sweeps import page
from deeplab.report.sweeps.intervals import Interval, paired
from deeplab.report.sweeps.summary import Axis, summarize
from deeplab.runs import record
from deeplab.search import axes as search_axes
from deeplab.search.groups import Member
from deeplab.search.proposals import search
from deeplab.search.setup import Row, Stopped
from deeplab.train.step import make_eval
from deeplab.verbs import ray_trials
from deeplab.verbs.answers.results import Found, with_metrics
from deeplab.verbs.answers.rows import name
from deeplab.verbs.answers.space import Space
from deeplab.verbs.answers.trials import Trials, check
from deeplab.verbs.fit import Surroundings
from deeplab.verbs.many import Many, Session, complete, how_many, local, publish, session
from deeplab.verbs.recipe import Recipe


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep(Found):
    """The rows of a sweep, and what they say: settings ordered by score, and what each argument does.

    Attributes:
      command: Command that trains the best setting alone; "" where there is none.
    """

    command: str = ""

    @property
    def best(self) -> Mapping[str, Any]:
        """The best setting: `setting` (arguments by name), `mean`, `error`, `low` and `high`, `values` of its runs."""
        return self.summary["settings"][0]

    def difference(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> Interval:
        """The paired interval of the monitored metric, second - first, over the seeds or folds.

        Args:
          first, second: Settings: values of as many of the arguments that differ as tell one setting from the others.

        Raises:
          UserError: No setting, or more than one, has these values.
        """
        return paired(self._setting(first)["units"], self._setting(second)["units"], self.summary["overlap"])

    def _setting(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        entries = self.summary["settings"]
        found = [entry for entry in entries if entry["setting"] | dict(wanted) == entry["setting"]]
        if len(found) != 1:
            raise UserError(
                f"{dict(wanted)} is {len(found)} of the settings of this sweep, expected one; it varies "
                f"{', '.join(entries[0]['setting']) or 'nothing'}"
            )
        return found[0]


@ranges.checked(seeds=ranges.COUNT)
def sweep(
    experiment: Any,
    axes: Mapping[str, Any],
    *,
    seeds: int | None = None,
    trials: Trials = Trials(),
    many: Many | None = None,
    run_dir: str | Path | None = None,
    surroundings: Surroundings = Surroundings(),
    test_split: str | None = None,
    **options: Any,
) -> Sweep:
    """Trains an experiment at many settings, with every seed; runs that differ in floats and seeds are one program.

    An argument annotated as `dl.Fold` is no setting: its values are averaged like seeds, and none is the best.

    Args:
      experiment: Function of hyper-parameters, or a `functools.partial` of it.
      axes: Values of arguments by name: a sequence, one value, or a text such as "1e-4..1e-1:8" or "16,32".
      seeds: Number of runs of each setting, with the seeds from `seed` on; 1, or those of `many`, when None.
      trials: Which settings are tried.
      many: How the runs are made.
      run_dir: Run directory, in which the same call goes on; nothing is written when None.
      surroundings: Effects of a command line or a notebook.
      test_split: Split on which the last and the best state of each run are measured, too; it has no part in choosing.
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
    recipe, many = Recipe.of(experiment, **options), how_many(many, seeds, 1)
    space = _space(recipe, axes, trials)
    check(trials, many.seeds, space)
    texts = {k: str(space.given[k]) if space.varies(k) else space.fixed[k] for k in recipe.arguments}
    named = dataclasses.replace(recipe, arguments=texts)
    arguments = named.recorded | trials.identity(many.seeds) | ({"test_split": test_split} if test_split else {})
    directory = None if run_dir is None else Path(os.path.expanduser(run_dir))
    if directory is not None and str(directory) == "auto":
        directory = record.default_directory("runs", recipe.name, arguments, recipe.source, recipe.seed)
    flags = {"run_dir": None if run_dir in (None, "auto") else run_dir, "test_split": test_split}
    manifest = {"experiment": recipe.module, "arguments": arguments, "seed": recipe.seed, "task": "sweep",
                "command": named.command("sweep", **flags | many.flags() | trials.flags()), "num_steps": 0}  # fmt: skip
    first = space.first(recipe.build)
    if test_split == first.data.eval_split:
        raise UserError(
            f"--test-split {test_split}: settings are chosen on that split, and what is chosen there is no test; make "
            'the experiment evaluate on another one, such as eval_split="validation" of its data, or leave it out'
        )
    if test_split and trials.backend == "ray":
        raise UserError(
            f"--test-split {test_split}: the processes of --backend ray measure no other split; leave one of them out"
        )
    measured = {"probe": make_eval, "split": test_split} if test_split else {}
    with session(recipe, many, directory, manifest, surroundings, first.data, **measured) as now:
        try:
            rows, trained = _search(now, trials, space, first.monitor)
        except Stopped:
            stopped = surroundings.exit_code()
            return Sweep((), {}, 0, now.held and now.held.directory, stopped=stopped, monitor=first.monitor)
        with now.setup.slow("the report"):
            return _finished(now, with_metrics(rows, test_split), trained, space, first, test_split)


def _finished(
    now: Session, rows: list[Row], trained: int, space: Space, first: Experiment, test_split: str | None
) -> Sweep:
    views = {k: Axis(a.values, a.log, a.position, a.at, k in space.closed) for k, a in space.axes.items()}
    data = first.data
    overlap = data.num_examples(data.eval_split) / data.num_train if space.folds else 0.0
    summary = summarize(rows, views, first.monitor, space.fold if space.folds else None, overlap)
    told = {k: dumps(value, str) for k, value in summary["settings"][0]["setting"].items()}  # a path as its text
    own = {k: {dumps(value, str): value for value in space.axes[k].values} for k in told}
    best = space.fixed | space.parts[0] | {k: own[k].get(text, loads(text)) for k, text in told.items()}
    alone = dataclasses.replace(
        now.recipe,
        arguments={k: best[k] for k in now.recipe.arguments},
        runtime=dataclasses.replace(now.recipe.runtime, mesh="auto"),
    )
    command = alone.command("train")
    summary |= {"command": command, "split": data.eval_split, "test_split": test_split}
    found = Sweep(rows, summary, trained, command=command, monitor=first.monitor)
    if now.held is None:
        return found
    now.held.update({"num_steps": len(rows)})
    report = publish(now, "sweep", rows, summary, lambda: page.sections(summary, rows))
    return dataclasses.replace(found, directory=now.held.directory, report=report)


def _space(recipe: Recipe, axes: Mapping[str, Any], trials: Trials) -> Space:
    """The settings of what a caller gives, by the types of the experiment's arguments."""
    parameters = inspect.signature(recipe.function).parameters
    if unknown := [key for key in axes if key not in parameters]:
        raise UserError(f"the experiment takes no argument {unknown[0]!r}; {nearest(unknown[0], parameters)}")
    hints = typing.get_type_hints(inspect.unwrap(recipe.function), include_extras=True)
    given = {key: search_axes.of(value, hints.get(key, str), key) for key, value in axes.items()}
    closed = {key for key, hint in hints.items() if {*map(typing.get_origin, alternatives(hint))} == {typing.Literal}}
    return Space.of(given, recipe.arguments, fold_argument(recipe.function), closed, drawn=trials.search != "grid")


def _search(now: Session, trials: Trials, space: Space, monitor: Monitor) -> tuple[list[Row], int]:
    """The rows of all settings, one generation of them after another, and how many runs were made."""
    generations = search(space.axes, trials.search, trials.num_trials, now.recipe.seed, trials.parallel_trials)
    runner = ray_trials.runner(now) if trials.backend == "ray" else local(now.setup, trials.halving)
    each, rows, trained = len(space.parts) * len(now.seeds), [], 0
    runs = trials.num_trials * each if trials.search == "tpe" else 0
    settings = next(generations, None)
    while settings is not None:
        wanted = [
            Member(space.fixed | setting | part, seed)
            for setting in settings for part in space.parts for seed in now.seeds
        ]  # fmt: skip
        made, count = complete(now, wanted, runner, runs)
        rows, trained = rows + made, trained + count
        try:
            settings = generations.send(_scores(made, each, monitor))
        except StopIteration:
            settings = None
    return list({name(row["arguments"], row["seed"]): row for row in rows}.values()), trained


def _scores(rows: Sequence[Row], each: int, monitor: Monitor) -> list[float]:
    """Of each setting, whose rows stand together: the mean over them at the last step; -inf where one diverged."""
    last = [-math.inf if row["diverged"] else monitor.score(_finite(row)) for row in rows]
    return np.array(last).reshape(-1, each).mean(axis=1).tolist()


def _finite(row: Row) -> dict[str, float]:
    """The metrics of the last evaluation; NaN was null in earlier versions."""
    return {k: math.nan if value is None else value for k, value in row["curve"][-1]["evaluation"].items()}
