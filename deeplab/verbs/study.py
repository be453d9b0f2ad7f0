"""`Study`: a question that many runs answer, as one page; runs that are finished are not made again."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.report.text import Html
from deeplab.runs import record
from deeplab.search.groups import Member
from deeplab.search.setup import Row, Stopped
from deeplab.train.evaluate import Probe
from deeplab.train.step import make_eval
from deeplab.verbs.fit import Surroundings
from deeplab.verbs.many import Many, complete, local, publish, session
from deeplab.verbs.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Study:
    """A question that many runs of one experiment answer.

    Args:
      axes: Values of the arguments that differ; the runs are their product, times the seeds.
      summarize: Function from the rows, one a run, to what they say: JSON.
      sections: Function from that to the sections of the page.
      probe: Metrics of a run before training, after it, and of its best state.
      split: Split that the probe measures on.
      smoke: Axes of a smoke run.

    Example:
      >>> study = Study({"depth": (2, 4)}, len, lambda count: [], smoke={"depth": (2,)})
      >>> study.axes["depth"]
      (2, 4)
    """

    axes: Mapping[str, Sequence[Any]]
    summarize: Callable[[list[Row]], Any]
    sections: Callable[[Any], Sequence[Html]]
    probe: Probe = make_eval
    split: str = "test"
    smoke: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Answer(Printable):
    """What the runs of a study say.

    Attributes:
      rows: One row a run; JSON.
      summary: What they say, from `Study.summarize`; None where a signal has stopped the study.
      trained: Number of runs made by this call; the others had ended before.
      directory: Run directory; None where nothing was written.
      report: Path of the page; None where there is none.
      stopped: Exit code of the signal that stopped the study; None where none did.
    """

    rows: Sequence[Row]
    summary: Any
    trained: int
    directory: Path | None = None
    report: Path | None = None
    stopped: int | None = None

    def __rich__(self) -> Any:
        if self.summary is None:
            return "stopped and saved; run the same command again to resume"
        return f"{len(self.rows):,} runs, {self.trained:,} of them made now; report: {self.report}"


@ranges.checked(seeds=ranges.COUNT)
def study(
    experiment: Any,
    question: Study,
    *,
    seeds: int = 3,
    many: Many | None = None,
    run_dir: str | Path | None = None,
    surroundings: Surroundings = Surroundings(),
    **options: Any,
) -> Answer:
    """Makes the runs of a study that are missing, and writes `study.json` and `report.html`.

    Args:
      experiment: Function of hyper-parameters, or a `functools.partial` of it.
      question: The study.
      seeds: Number of runs of each setting.
      many: How the runs are made.
      run_dir: Run directory, in which the same call goes on; nothing is written when None.
      surroundings: Effects of a command line or a notebook.
      **options: Further fields of `Recipe`: `seed`, `runtime`, `data_dir`, `smoke`.

    Raises:
      UserError: An argument is given that is an axis of the study.
    """
    recipe, many = Recipe.of(experiment, **options), many or Many(seeds)
    wanted = members(question, recipe, many.seeds)
    arguments = recipe.recorded | {"verb": "study"}
    directory = None if run_dir is None else Path(run_dir)
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
    }
    probe, first = {"probe": question.probe, "split": question.split}, recipe.build(**wanted[0].arguments)
    with session(recipe, many, directory, manifest, surroundings, first.data, **probe) as now:
        where = now.held and now.held.directory
        try:
            rows, trained = complete(now, wanted, local(now.setup))
        except Stopped:
            return Answer((), None, 0, where, stopped=surroundings.exit_code())
        with now.setup.slow("the report"):
            summary = question.summarize(rows)
            report = publish(now, "study", rows, summary, question.sections(summary))
            return Answer(rows, summary, trained, where, report)


def members(question: Study, recipe: Recipe, seeds: int) -> list[Member]:
    """The runs of a study.

    Raises:
      UserError: An argument is given that is an axis.
    """
    axes = question.smoke if recipe.smoke else question.axes
    defaults = {name: p.default for name, p in inspect.signature(recipe.function).parameters.items()}
    for name in axes:
        if recipe.arguments[name] != defaults[name]:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} {recipe.arguments[name]}: {name} is an axis of the study, which gives it all of "
                            f"{', '.join(map(str, axes[name]))}; leave it out")  # fmt: skip
    settings = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    numbers = range(recipe.seed, recipe.seed + seeds)
    return [Member(dict(recipe.arguments) | setting, seed) for setting in settings for seed in numbers]
