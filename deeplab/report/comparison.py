"""One page that compares runs: the arguments that differ, and the results."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from deeplab.core.errors import UserError
from deeplab.core.text import dumps
from deeplab.report import figures
from deeplab.report.document import document, save
from deeplab.report.members import read_all
from deeplab.report.record import RunRecord
from deeplab.report.text import Html, duration, is_share, join, metric, note, number, table, tag

MOST = 200
"""More runs than this are no comparison that anyone reads, and take minutes to draw."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only, each of which has a seed of its own.

    Attributes:
      letter: Label of its curves and rows.
      setting: Arguments by which the groups differ, such as "learning_rate 0.01, width 32".
      color: Color of its curves.
      runs: Runs in the order of their seeds.
    """

    letter: str
    setting: str
    color: str
    runs: Sequence[RunRecord]


def compare(run_dirs: Iterable[str | Path], out: str | Path) -> Path:
    """Writes one page that compares runs; the runs of a sweep or a study are compared with the others.

    Runs that differ only in the seed form a group, with the mean and the sample standard deviation over its seeds.

    Args:
      run_dirs: Run directories, two or more, or one of a sweep or a study.
      out: Path of the page; `compare.html` is added where it is a folder.

    Returns:
      The path of the page.

    Raises:
      UserError: There are fewer than two runs, one of them is none, or the page cannot be written.

    Example:
      >>> import json, tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> for width in (16, 32):  # stand for the directories of two runs
      ...     (folder / f"{width}").mkdir()
      ...     told = {"experiment": "image_digits", "arguments": {"width": width}, "num_steps": 100}
      ...     _ = (folder / f"{width}/run.json").write_text(json.dumps(told), encoding="utf-8")
      >>> compare([folder / "16", folder / "32"], folder).name
      'compare.html'
    """
    directories = dict.fromkeys(Path(directory).resolve() for directory in run_dirs)
    runs = [run for directory in directories for run in read_all(directory)]
    if len(runs) < 2:
        raise UserError(f"{len(runs)} different run directory given: expected two or more to compare")
    if len(runs) > MOST:
        raise UserError(
            f"{len(runs):,} runs are given, with those of sweeps and studies: a page compares {MOST} at most. Leave "
            "sweeps out: the report.html in the directory of each compares its runs"
        )
    groups, differing = group(runs)
    page = (Path(out) / "compare.html" if Path(out).is_dir() else Path(out)).resolve()
    names = sorted({str(run.record["experiment"]) for run in runs})
    body = join(
        tag("p", f"{len(runs)} runs · {len(groups)} settings", class_="eyebrow"),
        tag("h1", ", ".join(names)),
        note(_what_differs(runs, differing)),
        _legend(groups),
        _summary(groups),
        _curves(groups),
        _table(groups, differing, page.parent),
    )
    return save(page, document(f"{', '.join(names)} · {len(runs)} runs", body))


def group(runs: Sequence[RunRecord]) -> tuple[list[Group], list[str]]:
    """Groups of runs in the order of their settings, and the names of the arguments that differ, without the seed.

    Two runs of one setting and one seed, as of two commits, are no sample of it: they are in two groups.
    """
    settings = [{"experiment": run.record["experiment"]} | run.arguments for run in runs]
    differing = [name for name in differing_arguments(settings) if name != "seed"]
    order = sorted(range(len(runs)), key=lambda i: [_rank(settings[i].get(n)) for n in [*differing, "seed"]])
    members: dict[tuple[str, ...], list[RunRecord]] = {}
    for i in order:
        members.setdefault(tuple(_key(settings[i].get(n)) for n in differing), []).append(runs[i])
    groups = []
    for i, (told, same) in enumerate(part for runs in members.values() for part in _apart(runs).items()):
        given = {"experiment": same[0].record["experiment"]} | same[0].arguments
        setting = ", ".join([f"{name} {given[name]}" for name in differing if name in given] + [told] * bool(told))
        letter = LETTERS[i] if i < len(LETTERS) else str(i + 1)
        groups.append(Group(letter, setting or "same arguments", figures.SERIES[i % len(figures.SERIES)], same))
    return groups, differing


def _apart(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs of the same arguments by what tells them apart, so that none has a seed twice: the commit, or the name."""
    parts: dict[str, list[RunRecord]] = {"": [*runs]}
    for tell in (lambda run: f"commit {_commit(run)}", lambda run: run.name, lambda run: str(run.directory)):
        if all(len({str(run.arguments["seed"]) for run in same}) == len(same) for same in parts.values()):
            break
        parts = {}
        for run in runs:
            parts.setdefault(tell(run), []).append(run)
    return parts


def _commit(run: RunRecord) -> str:
    git = run.record.get("git") or {}
    return str(git.get("commit") or "")[:8] + ("+" if git.get("dirty") else "")


def differing_arguments(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the arguments whose values differ, or that not all have, in the order of their appearance.

    Example:
      >>> differing_arguments([{"width": 8, "rate": 1}, {"width": 16, "rate": 1}, {"width": 8, "rate": 1, "x": 1}])
      ['width', 'x']
    """
    names = dict.fromkeys(name for setting in settings for name in setting)
    return [name for name in names if len({_key(setting.get(name)) for setting in settings}) > 1]


def _rank(value: Any) -> tuple[bool, float, str]:
    """Key that sorts numbers by size, and before them all else by its text."""
    size = number(value)
    return (size != size, 0.0, _key(value)) if size != size else (False, size, "")


def _key(value: Any) -> str:
    return dumps(value, str, sort_keys=True)


def _what_differs(runs: Sequence[RunRecord], differing: Sequence[str]) -> str:
    seeds = len({str(run.arguments["seed"]) for run in runs})
    what = [*differing, *(["seed"] if seeds > 1 else [])]
    if not what:
        return "Their arguments and seeds are the same. The code or the machine may differ."
    return f"They differ in {', '.join(what[:-1])}{' and ' if what[1:] else ''}{what[-1]}."


def _mark(item: Group) -> Html:
    index = figures.SERIES.index(item.color)
    return tag("span", item.letter, class_="key", style=f"color: var(--series-{index})")


def _legend(groups: Sequence[Group]) -> Html:
    seeds = [f" ({len(g.runs)} seeds)" if len(g.runs) > 1 else "" for g in groups]
    items = [tag("li", _mark(g), g.setting, count) for g, count in zip(groups, seeds, strict=True)]
    return tag("ul", *items, class_="legend")


def _eval_metrics(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """(split, metric) of all evaluations, in order of appearance."""
    runs = [run for g in groups for run in g.runs]
    pairs = [(s, m) for run in runs for s in run.splits if s != "train" for m in run.metrics if m in run.last(s)[1]]
    return list(dict.fromkeys(pairs))


def _last(run: RunRecord, split: str, name: str) -> float:
    return run.last(split)[1].get(name, float("nan"))


def _summary(groups: Sequence[Group]) -> Html:
    """Mean and standard deviation over seeds; empty where no setting has two seeds."""
    if all(len(g.runs) < 2 for g in groups):
        return Html("")
    pairs = _eval_metrics(groups)
    rows = [
        [join(_mark(g), g.setting), len(g.runs), *(spread(m, [_last(run, s, m) for run in g.runs]) for s, m in pairs)]
        for g in groups
    ]
    head = ["setting", "seeds", *(f"{s} {m}" for s, m in pairs)]
    legend = "Mean ± sample standard deviation over seeds, at the last step."
    return join(tag("h2", "Over seeds"), table(head, rows, class_="numbers"), note(legend))


def spread(name: str, values: Sequence[float]) -> str:
    """Mean ± sample standard deviation; the value itself where there is only one.

    Example:
      >>> spread("accuracy", [0.99, 0.98, 1.0])
      '99.00 ± 1.00 %'
    """
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return ""
    missing = f" ({len(finite)} of {len(values)})" if len(finite) < len(values) else ""
    if len(finite) == 1:
        return metric(name, finite[0]) + missing
    mean, deviation = statistics.mean(finite), statistics.stdev(finite)
    if is_share(name):
        return f"{100 * mean:.2f} ± {100 * deviation:.2f} %{missing}"
    return f"{metric(name, mean)} ± {deviation:.2g}{missing}"


def _curves(groups: Sequence[Group]) -> Html:
    pairs = [*_eval_metrics(groups), ("train", "loss")]
    drawn = []
    for split, name in pairs:
        lines = [line for g in groups for line in _lines(g, split, name)]
        if lines:
            svg = figures.curves(lines, share=is_share(name))
            caption = tag("figcaption", tag("b", f"{split} {name}"))
            label = f"{split} {name} over steps, by setting"
            drawn.append(tag("figure", caption, figures.inline(svg, label, f"curve-{len(drawn)}")))
    return join(tag("h2", "Curves"), tag("div", *drawn, class_="grid")) if drawn else Html("")


def _lines(item: Group, split: str, name: str) -> list[figures.Line]:
    """The mean over seeds at the steps that all of them have, in front of the seeds themselves."""
    series = [(steps, values) for run in item.runs for steps, values in [run.series(split, name)] if len(steps)]
    if len(series) < 2:
        return [figures.Line(item.letter, *one, item.color) for one in series]
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in series)))
    mean = np.mean([values[np.isin(steps, common)] for steps, values in series], axis=0) if common else np.empty(0)
    seeds = [figures.Line("", *one, item.color, faint=True) for one in series]
    return [*seeds, figures.Line(item.letter, np.asarray(common, np.int64), mean, item.color)]


def _table(groups: Sequence[Group], differing: Sequence[str], folder: Path) -> Html:
    pairs = _eval_metrics(groups)
    rows = []
    for g in groups:
        for run in g.runs:
            arguments = {"experiment": run.record["experiment"]} | run.arguments
            rows.append(
                [
                    join(_mark(g), _link(run, folder)),
                    *(str(arguments.get(n, "")) for n in [*differing, "seed"]),
                    *(metric(m, value) if (value := _last(run, s, m)) == value else "" for s, m in pairs),
                    f"{run.step:,}" + ("" if run.status == "finished" else f", {run.status}"),
                    duration(run.seconds),
                    f"{run.steps_per_second:,.4g}" if run.steps_per_second > 0 else "",
                    tag("code", _commit(run)),
                ]
            )
    head = ["run", *differing, "seed", *(f"{s} {m}" for s, m in pairs), "step", "time", "steps/s", "commit"]
    return join(
        tag("h2", "Runs"),
        table(head, rows, class_="numbers"),
        note("A plus marks uncommitted changes."),
    )


def _link(run: RunRecord, folder: Path) -> Html:
    """The run's name, linked to its page by a relative path, so that both folders can be moved together."""
    page = run.directory / "report.html"
    return tag("a", run.name, href=quote(os.path.relpath(page, folder))) if page.exists() else join(run.name)
