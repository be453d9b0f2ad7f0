"""`study`: a question that many runs answer, as one page; runs that are finished are not made again."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import Invocation, Verb
from deeplab.cli.members import MembersFlags, complete, local, publish, session
from deeplab.core.errors import UserError
from deeplab.report.text import Html
from deeplab.runs import provenance, record
from deeplab.search.groups import Member
from deeplab.search.runner import Row, Stopped
from deeplab.train.evaluate import Probe
from deeplab.train.step import make_eval


@dataclasses.dataclass(frozen=True)
class Study:
    """A question that many runs of one experiment answer.

    Args:
      axes: the values of the arguments that differ; the runs are their product, times the seeds.
      summarize: rows, one a run, to what they say: JSON.
      sections: that, to the parts of the page.
      probe: what is measured of a run before training, after it, and of its best state.
      split: on which.
      smoke: the axes of a smoke run.

    Example:
      >>> import deeplab as dl
      >>> verbs = {"study": dl.Study({"depth": (2, 4)}, len, lambda count: [], smoke={"depth": (2,)}).verb}
    """

    axes: Mapping[str, Sequence[Any]]
    summarize: Callable[[list[Row]], Any]
    sections: Callable[[Any], Sequence[Html]]
    probe: Probe = make_eval
    split: str = "test"
    smoke: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    @property
    def verb(self) -> Verb:
        """What `dl.main(experiment, verbs={"study": ...})` is given."""
        return Verb(MembersFlags, functools.partial(run, self))


def run(study: Study, call: Invocation, console: Console) -> dict[str, Any]:
    """Makes the runs that are missing, and writes `study.json` and `report.html`.

    Returns:
      run_dir, members, trained (how many of them by this call), seconds (of all), report; of one that a signal has
      stopped run_dir, stopped (its exit code) and report (None).
    """
    flags: MembersFlags = call.flags
    wanted, source = members(study, call), provenance.source_of(call.function)
    arguments = call.recipe.recorded | {"verb": call.verb}
    directory = flags.run_dir or record.default_directory("runs", call.name, arguments, source, flags.seed)
    manifest = {
        "experiment": call.module,
        "arguments": arguments,
        "seed": flags.seed,
        "command": call.command(call.verb, run_dir=flags.run_dir, seeds=flags.seeds),
        "task": "study",
        "num_steps": len(wanted),
    }

    def open_run() -> record.Run:
        return record.Run.open(directory, manifest, source, fresh=flags.fresh, allow_change=flags.allow_change)

    with session(call, console, open_run, probe=study.probe, split=study.split) as now:
        try:
            rows, trained = complete(now, wanted, local(now.setup))
        except Stopped:
            return now.stopped()
        with now.setup.slow("the report"):
            summary = study.summarize(rows)
            return publish(now, "study", rows, summary, study.sections(summary)) | {"trained": trained}


def members(study: Study, call: Invocation) -> list[Member]:
    """The runs of a study.

    Raises:
      UserError: an argument of the command line is an axis.
    """
    axes = study.smoke if call.flags.smoke else study.axes
    defaults = {name: p.default for name, p in inspect.signature(call.function).parameters.items()}
    for name in axes:
        if call.arguments[name] != defaults[name]:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} {call.arguments[name]}: {name} is an axis of the study, which gives it all of "
                            f"{', '.join(map(str, axes[name]))}; leave it out")  # fmt: skip
    settings = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    seeds = range(call.flags.seed, call.flags.seed + call.flags.seeds)
    return [Member(call.arguments | setting, seed) for setting in settings for seed in seeds]
