"""`study`: a question that many runs answer, as one page; runs that are finished are not made again."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from deeplab import scale
from deeplab.cli.arguments import CommonFlags, Invocation, Verb, as_json
from deeplab.errors import UserError
from deeplab.report import study as page
from deeplab.report.document import save
from deeplab.report.text import Html, duration
from deeplab.train import population, provenance, record
from deeplab.train.feed import Feed, make_feed
from deeplab.train.population import Group, Member, Probe
from deeplab.train.step import make_eval

Row = dict[str, Any]
"""What is kept of one run, JSON: `arguments`, `seed`, `num_train` examples, `num_params`, `steps` taken, `curve` (a
list over the evaluations: `step`, `train`, `evaluation`), and what the probe measured: `first`, `last` and `best`."""


@dataclasses.dataclass(frozen=True)
class StudyFlags(CommonFlags):
    """Flags of study.

    Args:
      seeds: Runs of each setting, with the seeds from --seed on.
      fresh: Begin anew; what the run directory holds is moved aside, and kept.
      allow_change: Go on although the arguments or the source differ from those of the run directory.
    """

    seeds: int = 3
    fresh: bool = False
    allow_change: bool = False


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
        return Verb(StudyFlags, functools.partial(run, self))


def run(study: Study, call: Invocation, console: Console) -> dict[str, Any]:
    """Makes the runs that are missing, and writes `study.json` and `report.html`.

    Returns:
      run_dir, members, trained (how many of them by this call), seconds (of all), report.
    """
    flags: StudyFlags = call.flags
    wanted, source = members(study, call), provenance.source_of(call.function)
    arguments = call.recorded | {"verb": call.verb}
    directory = flags.run_dir or record.default_directory("runs", call.name, arguments, source, flags.seed)
    manifest = {
        "experiment": call.module,
        "arguments": arguments,
        "seed": flags.seed,
        "command": call.command(call.verb, run_dir=flags.run_dir, seeds=flags.seeds),
        "task": "study",
        "num_steps": len(wanted),
    }
    with record.Run.open(directory, manifest, source, fresh=flags.fresh, allow_change=flags.allow_change) as held:
        console.print(f"{call.name} {call.verb}: {held.directory}", highlight=False, soft_wrap=True)
        file = held.directory / "members.jsonl"
        done = _finished(file)
        missing = [member for member in wanted if _name(member.arguments, member.seed) not in done]
        groups = population.groups(call.build, missing)
        for number, group in enumerate(groups, start=1):
            began = time.monotonic()
            rows = train(study, group, scale.make_mesh(flags.mesh), flags.data_dir)
            seconds = time.monotonic() - began
            done |= _append(file, [row | {"seconds": round(seconds / len(rows), 3)} for row in rows])
            setting = ", ".join(
                f"{name} {rows[0]['arguments'][name]}" for name in study.axes if not _differs(rows, name)
            )
            console.print(
                f"{number} of {len(groups)}: {setting}: {len(rows)} runs, {duration(seconds)}", highlight=False
            )
        result = _write(study, held, [done[_name(member.arguments, member.seed)] for member in wanted])
    console.print(f"report: {result['report']}", highlight=False, soft_wrap=True)
    return result | {"trained": len(missing)}


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


def train(study: Study, group: Group, mesh: jax.sharding.Mesh, data_dir: Path | None = None) -> list[Row]:
    """A row for each member of a group, which is trained as one program."""
    experiment = group.experiment()
    data = experiment.data

    @functools.cache
    def feed(split: str) -> Feed:
        return make_feed(data, data.open(split, data_dir), mesh)

    evaluate = population.make_evaluator(group, feed(data.eval_split), data.eval_split)
    measure = population.make_evaluator(group, feed(study.split), study.split, study.probe)
    start = feed("train").replicate(population.init(group))
    first, curves, last = measure(start), [[] for _ in group.members], None
    for last in population.train(group, start, feed("train"), evaluate):
        for curve, *metrics in zip(curves, last.train, last.evaluation, strict=True):
            curve.append({"step": last.step, **dict(zip(("train", "evaluation"), metrics, strict=True))})
    assert last is not None  # a run has a step at least
    num_params = sum(leaf[0].size for leaf in jax.tree.leaves(last.state.params))
    shared = {"num_train": data.num_train, "num_params": num_params}
    measured = zip(first, measure(last.state), measure(last.best), strict=True)
    return [
        {"arguments": dict(member.arguments), "seed": member.seed, **shared, "steps": steps, "curve": curve,
         **dict(zip(("first", "last", "best"), values, strict=True))}
        for member, steps, curve, values in zip(group.members, last.state.step.tolist(), curves, measured, strict=True)
    ]  # fmt: skip


def _write(study: Study, held: record.Run, rows: list[Row]) -> dict[str, Any]:
    """The study's files, from its rows alone."""
    manifest, seconds = held.manifest, sum(row["seconds"] for row in rows)
    summary = study.summarize(rows)
    whole = {
        name: manifest[name] for name in ("experiment", "arguments", "seed", "command", "devices", "versions", "git")
    }
    save(held.directory / "study.json", as_json(whole | {"seconds": seconds, "summary": summary, "members": rows}))
    facts = {
        "runs": f"{len(rows):,}",
        "seeds": len({row["seed"] for row in rows}),
        "time": duration(seconds),
        "hardware": f"{len(manifest['devices'])} \u00d7 {manifest['device_kind']}",
        "commit": str(manifest["git"]["commit"])[:10],
    }
    report = page.write(
        held.directory,
        manifest["experiment"],
        source=(held.directory / "source.py").read_text(),
        command=manifest["command"],
        facts=facts,
        sections=study.sections(summary),
    )
    held.finish({"step": len(rows), "steps": len(rows), "seconds": seconds})
    return {"run_dir": held.directory, "members": len(rows), "seconds": round(seconds, 1), "report": report}


def _name(arguments: Mapping[str, Any], seed: int) -> str:
    """Which run a row is of."""
    return as_json({"arguments": dict(sorted(arguments.items())), "seed": seed})


def _finished(file: Path) -> dict[str, Row]:
    """The rows of a file by name; a line that a kill has torn is cut off."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines):
        try:
            row = json.loads(line if line.endswith("\n") else "")
            rows[_name(row["arguments"], row["seed"])] = row
        except (ValueError, KeyError, TypeError, AttributeError):
            if number + 1 < len(lines):
                raise UserError(
                    f"{file}: line {number + 1} is damaged; delete the line, its run is made again"
                ) from None
            save(file, "".join(lines[:number]))
    return rows


def _append(file: Path, rows: Sequence[Row]) -> dict[str, Row]:
    """Keeps rows, and gives them as they will be read again."""
    lines = [as_json(row) for row in rows]
    with file.open("a") as out:
        out.write("".join(f"{line}\n" for line in lines))
    return {_name(row["arguments"], row["seed"]): json.loads(line) for row, line in zip(rows, lines, strict=True)}


def _differs(rows: Sequence[Row], name: str) -> bool:
    return len({str(row["arguments"][name]) for row in rows}) > 1
