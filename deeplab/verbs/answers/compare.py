"""`compare`: which of two ideas is better, by the differences between their runs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.report.sweeps import sentences
from deeplab.report.sweeps.intervals import Interval, paired
from deeplab.report.sweeps.responses import state, told_interval
from deeplab.report.text import metric
from deeplab.verbs.answers.folds import fold_axis
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.sweep import Sweep, sweep


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison(Printable):
    """Two ideas, each with the same seeds or folds.

    Attributes:
      sweeps: The runs of each, by name.
      difference: Interval of the monitored metric, second - first, paired by seed or fold.
      sentence: Which is better, and what to bear in mind.
    """

    sweeps: Mapping[str, Sweep]
    difference: Interval
    sentence: str

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        summary = next(iter(self.sweeps.values())).summary
        name = summary["metric"]
        table = Table("", name, "95 % interval", "", box=None)
        for idea, found in self.sweeps.items():
            entry = found.best
            ends = told_interval(name, entry["low"], entry["high"])
            table.add_row(idea, metric(name, entry["mean"]), ends, state(entry))
        return Group(table, f"mean over {summary['over']}", self.sentence)


@ranges.checked(seeds=ranges.COUNT, folds=ranges.Range(at_least=2, whole=True))
def compare(
    ideas: Mapping[str, Any],
    *,
    seeds: int | None = None,
    folds: int | None = None,
    run_dir: str | Path | None = None,
    **options: Any,
) -> Comparison:
    """Trains two experiments with the same seeds, or on the same folds, and tells which is better.

    Args:
      ideas: The two by name: functions of hyper-parameters, or a `functools.partial` of one for each setting.
      seeds: Number of runs of each; 5 when None, which tell a difference of about 1.2 standard deviations from none,
        or those of `many`.
      folds: Number of folds, as for `cross_validate`; the runs differ in their seeds alone when None.
      run_dir: Folder of their run directories, in which the same call goes on; nothing is written when None.
      **options: Further arguments of `sweep`.

    Raises:
      UserError: There are not two, or they are not judged by the same metric.

    Example:
      >>> import functools
      >>> import optax
      >>> import deeplab as dl
      >>> def experiment(width: int = 4) -> dl.Experiment:
      ...     data = dl.data.Images("digits", batch_size=32, num_steps=2)
      ...     return dl.Experiment(data, dl.models.MLP(10, (width,)), dl.tasks.Classification(), optax.sgd(0.1))
      >>> wide = functools.partial(experiment, width=8)
      >>> dl.compare({"narrow": experiment, "wide": wide}, seeds=5).sentence  # doctest: +ELLIPSIS
      'loss of wide - narrow: ... (..., a 95 % interval, paired over 5 seeds). The interval ...'
    """
    if len(ideas) != 2:
        raise UserError(f"{len(ideas)} ideas were given, expected two by name, such as {{'plain': ..., 'new': ...}}")
    monitors = {name: Recipe.of(experiment).experiment().monitor for name, experiment in ideas.items()}
    if len(set(monitors.values())) > 1:
        each = ", ".join(f"{name} by {monitor}" for name, monitor in monitors.items())
        raise UserError(f"the ideas are judged by different metrics, {each}; give both experiments one Monitor")
    seeds = seeds if seeds is not None or options.get("many") is not None else 5
    sweeps = {}
    for name, experiment in ideas.items():
        axes = {} if folds is None else fold_axis(Recipe.of(experiment), folds)
        directory = None if run_dir is None else Path(os.path.expanduser(run_dir)) / name
        sweeps[name] = sweep(experiment, axes, seeds=seeds, run_dir=directory, **options)
        if not sweeps[name].summary:
            raise UserError("stopped and saved; run the same comparison again to resume")
    (first, a), (second, b) = sweeps.items()
    found = paired(a.best["units"], b.best["units"], a.summary["overlap"])
    told = sentences.compared(first, second, a.monitor.name, found, a.summary["unit"], a.monitor.direction == "min")
    return Comparison(sweeps, found, told)
