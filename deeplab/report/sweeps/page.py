"""A sweep as a page: the best setting and how sure that is, what each argument does, how the runs were made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.monitor import Monitor
from deeplab.report.sweeps import importance, responses
from deeplab.report.text import Html, duration, metric, table, tag

_SHOWN = 24  # settings in the table

Entry = dict[str, Any]
"""A setting: `setting` (by argument), `values` (of its seeds, of the monitored metric at their last evaluation), `mean`
and `sd` of them, `metrics` (the same of all metrics), `compared` (the mean where all settings were measured), `steps`,
`diverged` (how many seeds) and `stopped`. What is not known is None."""


class Axis(NamedTuple):
    """An argument that differs.

    Attributes:
      values: those of a list; empty for a range of which any value was drawn.
      log: whether it is shown in the logarithm.
      position: of a value in [0, 1].
      at: the inverse.
    """

    values: tuple[Any, ...]
    log: bool
    position: Callable[[Any], float]
    at: Callable[[float], Any]


def summarize(rows: Sequence[Mapping[str, Any]], axes: Mapping[str, Axis], monitor: Monitor) -> dict[str, Any]:
    """What the runs say: `metric`, `smaller` (is better), `settings`, best first, `axes`, `importance`, `ways`."""
    smaller, name = monitor.direction == "min", monitor.name
    by_setting: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_setting.setdefault(repr([row["arguments"][k] for k in axes]), []).append(row)
    entries = [_entry(same, axes, name, smaller) for same in by_setting.values()]
    entries.sort(key=lambda e: (e["stopped"], -e["steps"] if e["stopped"] else 0, _loss(e, smaller)))
    described = {k: {"values": list(a.values), "log": a.log} for k, a in axes.items()}
    found = _importance(entries, axes)
    return {
        "metric": name,
        "smaller": smaller,
        "settings": entries,
        "axes": described,
        "importance": found,
        "ways": _ways(rows),
    }


def _entry(rows: Sequence[Mapping[str, Any]], axes: Mapping[str, Axis], name: str, smaller: bool) -> Entry:
    ends = [row["curve"][-1]["evaluation"] for row in rows]
    values = [
        math.nan if row["diverged"] or end[name] is None else end[name] for row, end in zip(rows, ends, strict=True)
    ]
    rungs = [(row["rungs"] or [None])[0] for row in rows]
    compared = [v if r is None else -r if smaller else r for v, r in zip(values, rungs, strict=True)]
    numbers = {k: [math.nan if end[k] is None else end[k] for end in ends] for k in ends[0]}
    return {
        "setting": {k: rows[0]["arguments"][k] for k in axes},
        "values": values,
        "mean": float(np.mean(values)),
        "sd": _sd(values),
        "metrics": {k: [float(np.mean(v)), _sd(v)] for k, v in numbers.items()},
        "compared": float(np.mean(compared)),
        "steps": max(row["steps"] for row in rows),
        "diverged": sum(row["diverged"] for row in rows),
        "stopped": any(row["stopped"] for row in rows),
    }


def _sd(values: Sequence[float]) -> float | None:
    """The sample standard deviation; None of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _loss(entry: Entry, smaller: bool) -> float:
    value = entry["mean"] if smaller else -entry["mean"]
    return math.inf if math.isnan(value) else value


def _importance(entries: Sequence[Entry], axes: Mapping[str, Axis]) -> dict[str, Any] | None:
    """Shares of the variance; None of a single argument, and of too few settings."""
    sound = [entry for entry in entries if math.isfinite(entry["compared"])]
    y = np.array([entry["compared"] for entry in sound])
    if len(axes) < 2 or len(sound) < importance.MIN_SETTINGS or np.ptp(y) == 0:
        return None
    x = np.array([[axis.position(entry["setting"][k]) for k, axis in axes.items()] for entry in sound])
    found, names = importance.fanova(x, y), list(axes)
    return {
        "settings": len(sound),
        "explained": found.explained,
        "main": {k: [float(share.mean()), float(share.std())] for k, share in zip(names, found.main.T, strict=True)},
        "pairs": {f"{names[i]} and {names[j]}": [float(s.mean()), float(s.std())] for (i, j), s in found.pairs.items()},
        "curves": {
            k: [[axis.at(float(u)) for u in importance.POSITIONS], curve.tolist()]
            for (k, axis), curve in zip(axes.items(), found.curves, strict=True)
            if not axis.values
        },
    }


def _ways(rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """How runs were made: way, runs, seconds, and the compilations of a training program with their seconds."""
    ways: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        ways.setdefault(row["way"], []).append(row)
    return [
        [way, len(same), sum(r["seconds"] for r in same), sum(len(r["compiled"]) for r in same),
         sum(sum(r["compiled"]) for r in same)]
        for way, same in ways.items()
    ]  # fmt: skip


def told(entry: Entry, name: str) -> str:
    """A setting and what it gave, in a line.

    Example:
      >>> told({"setting": {"learning_rate": 0.01}, "mean": 0.975, "sd": 0.01, "values": [0.965, 0.985]}, "accuracy")
      'learning_rate 0.01: accuracy 97.50 % (s.d. 1.00 %, 2 seeds)'
    """
    setting = ", ".join(f"{k} {v}" for k, v in entry["setting"].items()) or "the only setting"
    spread = "" if entry["sd"] is None else f" (s.d. {metric(name, entry['sd'])}, {len(entry['values'])} seeds)"
    return f"{setting}: {name} {metric(name, entry['mean'])}{spread}"


def sections(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """The page's parts."""
    best = summary["settings"][0]
    split, name = summary["split"], summary["metric"]
    parts = [
        tag("div", tag("strong", metric(name, best["mean"])), tag("span", f"{split} {name} of the best setting"),
            class_="headline"),
        tag("p", f"{told(best, name)}. Chosen by the {split} split, at the last step: on other data expect less.",
            class_="muted"),
        tag("h3", "Train it alone"),
        tag("pre", summary["command"], class_="command", title="click selects the whole command"),
        tag("h2", "Settings"),
        _table(summary),
    ]  # fmt: skip
    if summary["axes"]:
        parts += [tag("h2", "What each argument does"), *responses.sections(summary)]
    return [*parts, *_matters(summary), *_made(summary, rows)]


def _table(summary: Mapping[str, Any]) -> Html:
    settings, name = summary["settings"], summary["metric"]
    others = [k for k in settings[0]["metrics"] if k != name]
    lines = []
    for i, entry in enumerate(settings[:_SHOWN], start=1):
        state = [f"{entry['diverged']} diverged"] * bool(entry["diverged"]) + ["stopped"] * entry["stopped"]
        cells = [_spread(name, entry["mean"], entry["sd"]), *(_spread(k, *entry["metrics"][k]) for k in others)]
        lines.append([i, *entry["setting"].values(), *cells, f"{entry['steps']:,}", ", ".join(state)])
    head = ["", *summary["axes"], name, *others, "steps", ""]
    rest = f" The first {_SHOWN} of {len(settings)}." if len(settings) > _SHOWN else ""
    note = f"Mean ± sample standard deviation over {len(settings[0]['values'])} seeds, at the last evaluation.{rest}"
    return Html(table(head, lines, class_="numbers") + tag("p", note, class_="muted"))


def _spread(name: str, mean: float, sd: float | None) -> str:
    return metric(name, mean) + ("" if sd is None else f" ± {metric(name, sd)}")


def _matters(summary: Mapping[str, Any]) -> list[Html]:
    found, axes = summary["importance"], summary["axes"]
    if len(axes) < 2:
        return []
    title = tag("h2", "Which arguments matter")
    if found is None:
        return [
            title,
            tag("p", f"It takes {importance.MIN_SETTINGS} settings, not all the same, to tell.", class_="muted"),
        ]
    shares = sorted(itertools.chain(found["main"].items(), found["pairs"].items()), key=lambda item: -item[1][0])
    lines = [[k, f"{100 * mean:.1f} ± {100 * sd:.1f} %"] for k, (mean, sd) in shares[:_SHOWN]]
    note = (
        f"Shares of the variance of the {summary['metric']} over the space that was swept (functional ANOVA of a "
        f"random forest, ± over its trees), from {found['settings']} settings; of settings that a tree has not seen "
        f"the forest predicts {100 * found['explained']:.0f} % of the variance: of little, shares mean little."
    )
    return [title, table(["argument", "share"], lines, class_="numbers"), tag("p", note, class_="muted")]


def _made(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    lines = [
        [way, f"{runs:,}", duration(seconds), compiled, duration(compiling)]
        for way, runs, seconds, compiled, compiling in summary["ways"]
    ]
    parts = [
        tag("h2", "How the runs were made"),
        table(["way", "runs", "time", "compilations", "of which"], lines, class_="numbers"),
    ]
    bad = [row for row in rows if row["diverged"]]
    if bad:
        told = ["; ".join(f"{k} {row['arguments'][k]}" for k in summary["axes"]) + f" seed {row['seed']}: after step "
                f"{row['steps']:,}" for row in bad[:_SHOWN]]  # fmt: skip
        parts += [tag("h3", f"{len(bad)} diverged"), tag("ul", *(tag("li", line) for line in told))]
    return parts
