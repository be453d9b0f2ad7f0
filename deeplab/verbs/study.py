"""`Study`: a question that many runs answer, as one page; runs that are finished are not made again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.core import ranges
from deeplab.core.arguments import kinds_of
from deeplab.core.errors import UserError, nearest
from deeplab.core.text import dumps
from deeplab.experiment import Experiment, fold_argument
from deeplab.report.sweeps import page
from deeplab.report.sweeps.summary import Axis, summarize
from deeplab.report.text import Html
from deeplab.runs import record
from deeplab.runs.identity import provenance
from deeplab.search import axes as search_axes
from deeplab.search.groups import Member
from deeplab.search.setup import Row, Stopped
from deeplab.train.evaluate import Probe
from deeplab.train.step import make_eval
from deeplab.verbs.answers.results import Found, printed, with_metrics
from deeplab.verbs.fit import Surroundings
from deeplab.verbs.many import Many, complete, how_many, local, publish, session
from deeplab.verbs.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Study:
    """A question that many runs of one experiment answer.

    Args:
      axes: Values of the arguments that differ, as for `dl.sweep`; the runs are their product, times the seeds.
      summarize: Function from the rows, one a run, to what they say: JSON. When None, the settings in the order of
        their mean, each with the interval over its seeds, see `deeplab.report.sweeps.summary`.
      sections: Function from that to the sections of the page; when None, a figure and a table of the settings.
      probe: Metrics of a run before training, after it, and of its best state.
      split: Split that the probe measures on.
      smoke: Axes of a smoke run.

    Example:
      >>> study = Study({"depth": (2, 4)}, smoke={"depth": (2,)})
      >>> study.axes["depth"]
      (2, 4)
    """

    axes: Mapping[str, Sequence[Any]]
    summarize: Callable[[list[Row]], Any] | None = None
    sections: Callable[[Any], Sequence[Html]] | None = None
    probe: Probe = make_eval
    split: str = "test"
    smoke: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Answer(Found):
    """What the runs of a study say.

    Attributes:
      summary: What they say, from `Study.summarize`; None where a signal has stopped the study.
      settings: The settings in their order, where the study leaves the summary or the page to us; None elsewhere.
    """

    settings: Mapping[str, Any] | None = None

    def __rich__(self) -> Any:
        from rich.console import Group

        if self.summary is None or self.settings is None:
            told = f"{len(self.rows):,} runs, {self.trained:,} of them made now; report: {self.report}"
            return told if self.summary is not None else "stopped and saved; run the same command again to resume"
        told = super().__rich__() if self.summary is self.settings else printed(self.settings)
        return Group(told, *[f"report: {self.report}"] * (self.report is not None))


@ranges.checked(seeds=ranges.COUNT)
def study(
    experiment: Any,
    question: Study,
    *,
    seeds: int | None = None,
    many: Many | None = None,
    run_dir: str | Path | None = None,
    surroundings: Surroundings = Surroundings(),
    **options: Any,
) -> Answer:
    """Makes the runs of a study that are missing, and writes `study.json` and `report.html`.

    Args:
      experiment: Function of hyper-parameters, or a `functools.partial` of it.
      question: The study.
      seeds: Number of runs of each setting; 3, or those of `many`, when None.
      many: How the runs are made.
      run_dir: Run directory, in which the same call goes on; nothing is written when None.
      surroundings: Effects of a command line or a notebook.
      **options: Further fields of `Recipe`: `seed`, `runtime`, `data_dir`, `smoke`.

    Raises:
      UserError: An argument is given that is an axis of the study, or an axis is none of the experiment's.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> def experiment(width: int = 4) -> dl.Experiment:
      ...     data = dl.data.Images("digits", batch_size=32, num_steps=2)
      ...     return dl.Experiment(data, dl.models.MLP(10, (width,)), dl.tasks.Classification(), optax.sgd(0.1))
      >>> answer = dl.study(experiment, Study({"width": (4, 8)}), seeds=1)
      >>> [(row["arguments"]["width"], row["seed"]) for row in answer.rows]
      [(4, 0), (8, 0)]
    """
    recipe, many = Recipe.of(experiment, **options), how_many(many, seeds, 3)
    wanted = members(question, recipe, many.seeds)
    arguments = recipe.recorded | {"verb": "study"}
    directory = None if run_dir is None else Path(os.path.expanduser(run_dir))
    if directory is not None and str(directory) == "auto":
        directory = record.default_directory("runs", recipe.name, arguments, recipe.source, recipe.seed)
    flags = {"run_dir": None if run_dir in (None, "auto") else run_dir} | many.flags()
    manifest = {
        "experiment": recipe.module,
        "arguments": arguments,
        "seed": recipe.seed,
        "command": recipe.command("study", **flags),
        "task": "study",
        "num_steps": len(wanted),
        "measured": _measured(question),
    }
    probe, first = {"probe": question.probe, "split": question.split}, recipe.build(**wanted[0].arguments)
    with session(recipe, many, directory, manifest, surroundings, first.data, **probe) as now:
        where = now.held and now.held.directory
        try:
            rows, trained = complete(now, wanted, local(now.setup))
        except Stopped:
            return Answer((), None, 0, where, stopped=surroundings.exit_code())
        with now.setup.slow("the report"):
            elsewhere = question.probe is make_eval and question.split != first.data.eval_split
            rows = with_metrics(rows, question.split if elsewhere else None)
            own, drawn, settings = question.summarize, question.sections, None
            if own is None or drawn is None:
                settings = _settings(_axes(question, recipe), rows, first, recipe)
            summary = settings if own is None else own(rows)
            own_page = None if drawn is None else functools.partial(drawn, summary)
            report = publish(now, "study", rows, summary, own_page or (lambda: page.answer(settings or {}, rows)))
            return Answer(rows, summary, trained, where, report, monitor=first.monitor, settings=settings)


def _measured(question: Study) -> dict[str, str]:
    """What tells the numbers of a study apart from those of another one with the same runs."""
    probe = inspect.unwrap(question.probe)
    sources = provenance.sources(question.probe)  # {} of a probe of deeplab's, which its version tells
    digest = hashlib.sha256(dumps(sorted(sources.values())).encode()).hexdigest()[:8] if sources else ""
    return {
        "split": question.split,
        "probe": f"{getattr(probe, '__qualname__', type(probe).__name__)} {digest}".strip(),
    }


def _axes(question: Study, recipe: Recipe) -> dict[str, search_axes.Axis]:
    """The axes of a study, or of its smoke run, by name.

    Raises:
      UserError: One is no argument of the experiment, or has no value.
    """
    axes, kinds = question.smoke if recipe.smoke else question.axes, kinds_of(recipe.function)
    if unknown := [name for name in axes if name not in kinds]:
        raise UserError(f"Study: the experiment takes no argument {unknown[0]!r}; {nearest(unknown[0], kinds)}")
    return {name: search_axes.of(values, kinds[name], name) for name, values in axes.items()}


def _settings(
    given: Mapping[str, search_axes.Axis], rows: list[Row], first: Experiment, recipe: Recipe
) -> dict[str, Any]:
    """The summary of a study that brings none."""
    fold, data = fold_argument(recipe.function), first.data
    axes = {k: Axis(a.values, a.log, a.position, a.at) for k, a in given.items() if k != fold}
    overlap = data.num_examples(data.eval_split) / data.num_train if fold in given else 0.0
    return summarize(rows, axes, first.monitor, fold if fold in given else None, overlap)


def members(question: Study, recipe: Recipe, seeds: int) -> list[Member]:
    """The runs of a study.

    Raises:
      UserError: An argument is given that is an axis.
    """
    axes = {name: axis.grid(name) for name, axis in _axes(question, recipe).items()}
    defaults = {name: p.default for name, p in inspect.signature(recipe.function).parameters.items()}
    for name in axes:
        if recipe.arguments[name] != defaults[name]:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} {recipe.arguments[name]}: {name} is an axis of the study, which gives it all of "
                            f"{', '.join(map(str, axes[name]))}; leave it out")  # fmt: skip
    settings = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    numbers = range(recipe.seed, recipe.seed + seeds)
    return [Member(dict(recipe.arguments) | setting, seed) for setting in settings for seed in numbers]
