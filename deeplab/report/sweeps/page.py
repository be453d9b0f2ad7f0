"""The page of a sweep: the best setting with its spread, the effect of each argument, and the execution of the runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.monitor import Monitor
from deeplab.report.sweeps import importance, responses
from deeplab.report.text import Html, duration, join, metric, note, table, tag

_SHOWN = 24  # settings in the table

Entry = dict[str, Any]
"""A setting: `setting` (values by argument), `values` (the monitored metric of each seed at its last evaluation), their
`mean` and `sd`, `metrics` (mean and sd of every metric), `compared` (the mean at the last step that all settings
reached), `steps`, `diverged` (number of seeds) and `stopped`. Unknown values are None."""


class Axis(NamedTuple):
    """An argument that differs between settings.

    Attributes:
      values: Values of a list; empty for a range from which values were drawn.
      log: Whether its axis is logarithmic.
      position: Function from a value to [0, 1].
      at: Inverse of `position`.
    """

    values: tuple[Any, ...]
    log: bool
    position: Callable[[Any], float]
    at: Callable[[float], Any]


def summarize(rows: Sequence[Mapping[str, Any]], axes: Mapping[str, Axis], monitor: Monitor | str) -> dict[str, Any]:
    """The results as JSON: `metric`, `smaller` (is better), `settings`, best first, `axes`, `importance`, `ways`."""
    monitor = Monitor.parse(monitor)
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
        "setting": {k: _tuple(rows[0]["arguments"][k]) for k in axes},
        "values": values,
        "mean": float(np.mean(values)),
        "sd": _sd(values),
        "metrics": {k: [float(np.mean(v)), _sd(v)] for k, v in numbers.items()},
        "compared": float(np.mean(compared)),
        "steps": max(row["steps"] for row in rows),
        "diverged": sum(row["diverged"] for row in rows),
        "stopped": any(row["stopped"] for row in rows),
    }


def _tuple(value: Any) -> Any:
    """A value of an argument, in which JSON has made lists of the tuples."""
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def _sd(values: Sequence[float]) -> float | None:
    """The sample standard deviation; None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _loss(entry: Entry, smaller: bool) -> float:
    value = entry["mean"] if smaller else -entry["mean"]
    return math.inf if math.isnan(value) else value


def _importance(entries: Sequence[Entry], axes: Mapping[str, Axis]) -> dict[str, Any] | None:
    """Shares of the variance; None for a single argument or too few settings."""
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
    """Execution of the runs: its kind, number of runs, seconds, and number and seconds of compilations."""
    ways: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        ways.setdefault(row["execution"] if "execution" in row else row["way"], []).append(row)
    return [
        [way, len(same), sum(r["seconds"] for r in same), sum(len(r["compiled"]) for r in same),
         sum(sum(r["compiled"]) for r in same)]
        for way, same in ways.items()
    ]  # fmt: skip


def told(entry: Entry, name: str) -> str:
    """A setting and its result, in a line.

    Example:
      >>> told({"setting": {"learning_rate": 0.01}, "mean": 0.975, "sd": 0.01, "values": [0.965, 0.985]}, "accuracy")
      'learning_rate 0.01: accuracy 97.50 % (s.d. 1.00 %, 2 seeds)'
    """
    setting = ", ".join(f"{k} {v}" for k, v in entry["setting"].items()) or "the only setting"
    spread = "" if entry["sd"] is None else f" (s.d. {metric(name, entry['sd'])}, {len(entry['values'])} seeds)"
    return f"{setting}: {name} {metric(name, entry['mean'])}{spread}"


def sections(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """The sections of the page.

    Args:
      summary: Summary from `summarize`, with `split` and the `command` that trains the best setting.
      rows: Rows of the runs.
    """
    best = summary["settings"][0]
    split, name = summary["split"], summary["metric"]
    advice = f"It was chosen by its result on the {split} split at the last step; expect less on other data."
    parts = [
        tag("div", tag("strong", metric(name, best["mean"])), tag("span", f"{split} {name} of the best setting"),
            class_="headline"),
        note(f"{told(best, name)}. {advice}"),
        tag("h3", "Command of the best setting"),
        tag("pre", summary["command"], class_="command", title="click selects the whole command"),
        tag("h2", "Settings"),
        _table(summary),
    ]  # fmt: skip
    if summary["axes"]:
        parts += [tag("h2", "Effect of each argument"), *responses.sections(summary)]
    return [*parts, *_importances(summary), *_executions(summary, rows)]


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
    seeds = len(settings[0]["values"])
    legend = f"Mean ± sample standard deviation over {seeds} seeds, at the last evaluation.{rest}"
    return join(table(head, lines, class_="numbers"), note(legend))


def _spread(name: str, mean: float, sd: float | None) -> str:
    return metric(name, mean) + ("" if sd is None else f" ± {metric(name, sd)}")


def _importances(summary: Mapping[str, Any]) -> list[Html]:
    found, axes = summary["importance"], summary["axes"]
    if len(axes) < 2:
        return []
    title = tag("h2", "Which arguments matter")
    if found is None:
        return [title, note(f"This takes at least {importance.MIN_SETTINGS} settings with different results.")]
    shares = sorted(itertools.chain(found["main"].items(), found["pairs"].items()), key=lambda item: -item[1][0])
    lines = [[k, f"{100 * mean:.1f} ± {100 * sd:.1f} %"] for k, (mean, sd) in shares[:_SHOWN]]
    legend = (
        f"Shares of the variance of the {summary['metric']} over the swept space, ± standard deviation over trees "
        f"(functional ANOVA of a random forest fitted to {found['settings']} settings). On settings that a tree has "
        f"not seen, the forest explains {100 * found['explained']:.0f} % of the variance; where it explains little, "
        "the shares mean little."
    )
    return [title, table(["argument", "share"], lines, class_="numbers"), note(legend)]


def _executions(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    lines = [
        [execution, f"{runs:,}", duration(seconds), compiled, duration(compiling)]
        for execution, runs, seconds, compiled, compiling in summary["ways"]
    ]
    head = ["execution", "runs", "time", "compilations", "of the time"]
    parts = [tag("h2", "Execution of the runs"), table(head, lines, class_="numbers")]
    diverged = [row for row in rows if row["diverged"]]
    if diverged:
        parts += [
            tag("h3", f"{len(diverged)} diverged"),
            tag("ul", *(tag("li", _diverged(row, summary["axes"])) for row in diverged[:_SHOWN])),
        ]
    return parts


def _diverged(row: Mapping[str, Any], axes: Mapping[str, Any]) -> str:
    setting = [f"{k} {row['arguments'][k]}" for k in axes] + [f"seed {row['seed']}"]
    return f"{'; '.join(setting)}: after step {row['steps']:,}"
