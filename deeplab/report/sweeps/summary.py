"""What the rows of many runs say: settings in their order, with intervals over seeds or folds, and what matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.monitor import Monitor
from deeplab.report.sweeps import importance
from deeplab.report.sweeps.intervals import interval, paired

Rows = Sequence[Mapping[str, Any]]

Entry = dict[str, Any]
"""A setting: `setting` (values by argument), `values` (the monitored metric of each run at its last evaluation),
`units` (the same by seed, or the mean of each fold), their `mean`, `sd`, `error`, `low` and `high` (see `intervals`),
`against` (the paired interval of this setting minus the best one), `metrics` (mean and sd of every metric), `compared`
(the mean at the last step that all settings reached), `points`, `from` and `to` (its units and interval), `steps`,
`diverged` (number of runs) and `stopped`. Unknown values are None."""

_EDGE = 0.1  # of a range from which values are drawn: the part at each end that counts as its edge


class Axis(NamedTuple):
    """An argument that differs between settings.

    Attributes:
      values: Values of a list; empty for a range from which values were drawn.
      log: Whether its axis is logarithmic.
      position: Function from a value to [0, 1].
      at: Inverse of `position`.
      closed: Whether there are no other values than those of its type, as for a `Literal`.
    """

    values: tuple[Any, ...]
    log: bool
    position: Callable[[Any], float]
    at: Callable[[float], Any]
    closed: bool = False


def summarize(
    rows: Rows, axes: Mapping[str, Axis], monitor: Monitor | str, fold: str | None = None, overlap: float = 0.0
) -> dict[str, Any]:
    """The results as JSON.

    Args:
      rows: Rows of the runs; `metrics` where a row has them, else its last evaluation.
      axes: Arguments that differ between settings.
      monitor: Metric by which settings are compared.
      fold: Argument that numbers folds, which are no settings; None where there are none.
      overlap: Test examples over training examples of a fold, see `interval`.

    Returns:
      `metric`, `smaller` (is better), `settings`, best first, `axes`, `importance`, `ways`, `unit` ("seed" or "fold"),
      `over` (how many of them there are, as text), `overlap`, `remarks`.
    """
    monitor = Monitor.parse(monitor)
    smaller, name = monitor.direction == "min", monitor.name
    by_setting: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_setting.setdefault(repr([row["arguments"][k] for k in axes]), []).append(row)
    entries = [_entry(same, axes, name, smaller, fold, overlap) for same in by_setting.values()]
    entries.sort(key=lambda e: (e["stopped"], -e["steps"] if e["stopped"] else 0, _loss(e, smaller)))
    for entry in entries[1:]:
        entry["against"] = None if entry["stopped"] else _against(entries[0], entry, overlap)
    described = {
        k: {
            "values": [*map(_tuple, a.values)],  # as the settings have them, so that they are equal and can be keys
            "log": a.log,
            "categorical": not _numbers(entry["setting"][k] for entry in entries),
        }
        for k, a in axes.items()
    }
    return {
        "metric": name,
        "smaller": smaller,
        "settings": entries,
        "axes": described,
        "importance": _importance(entries, axes),
        "ways": _ways(rows),
        "unit": "fold" if fold else "seed",
        "over": _over(rows, fold),
        "overlap": overlap,
        "remarks": _edges(entries, axes),
    }


def _numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _over(rows: Rows, fold: str | None) -> str:
    """What the runs of a setting differ in: 3 seeds, 5 folds, or 5 folds, 3 seeds each."""
    seeds = len({row["seed"] for row in rows})
    told = f"{seeds} seed{'s' * (seeds > 1)}"
    if fold is None:
        return told
    folds = len({row["arguments"][fold] for row in rows})
    return f"{folds} fold{'s' * (folds > 1)}" + (f", {told} each" if seeds > 1 else "")


def _entry(rows: Rows, axes: Mapping[str, Axis], name: str, smaller: bool, fold: str | None, overlap: float) -> Entry:
    ends = [row.get("metrics") or row["curve"][-1]["evaluation"] for row in rows]
    numbers = {k: [math.nan if end[k] is None else end[k] for end in ends] for k in ends[0]}
    values = [math.nan if row["diverged"] else value for row, value in zip(rows, numbers[name], strict=True)]
    rungs = [(row["rungs"] or [None])[0] for row in rows]
    compared = [v if r is None else -r if smaller else r for v, r in zip(values, rungs, strict=True)]
    shown = [math.nan if row["diverged"] else value for row, value in zip(rows, compared, strict=True)]
    labels = [f"fold {row['arguments'][fold]}" if fold else f"seed {row['seed']}" for row in rows]
    units, points = _by(labels, values), _by(labels, shown)
    told, drawn = interval([*units.values()], overlap), interval([*points.values()], overlap)
    return {
        "setting": {k: _tuple(rows[0]["arguments"][k]) for k in axes},
        "values": values,
        "units": units,
        "mean": float(np.mean(values)),
        "sd": _sd(units.values()),
        "error": told.error,
        "low": told.low,
        "high": told.high,
        "against": None,
        "metrics": {k: [float(np.mean(v)), _sd(_by(labels, v).values())] for k, v in numbers.items()},
        "compared": float(np.mean(compared)),
        "points": points,
        "from": drawn.low,
        "to": drawn.high,
        "steps": max(row["steps"] for row in rows),
        "diverged": sum(row["diverged"] for row in rows),
        "stopped": any(row["stopped"] for row in rows),
    }


def _tuple(value: Any) -> Any:
    """A value of an argument, in which JSON has made lists of the tuples."""
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def _by(labels: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """The mean of the values of each label: over the seeds of a fold."""
    return {
        label: float(np.mean([value for other, value in zip(labels, values, strict=True) if other == label]))
        for label in dict.fromkeys(labels)
    }


def _sd(values: Iterable[float]) -> float | None:
    """The sample standard deviation; None for a single value."""
    values = [*values]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _against(best: Entry, entry: Entry, overlap: float) -> dict[str, Any] | None:
    found = paired(best["units"], entry["units"], overlap)
    return None if found.low is None else found._asdict() | {"tells": found.tells}


def _loss(entry: Entry, smaller: bool) -> float:
    value = entry["mean"] if smaller else -entry["mean"]
    return math.inf if math.isnan(value) else value


def _edges(entries: Sequence[Entry], axes: Mapping[str, Axis]) -> list[str]:
    """The arguments whose best value is the last one tried on its side, each with what to try.

    0 and a count of 1 are ends by nature. Where several settings are equally good, all of them are at the edge.
    """
    best, remarks = entries[0], []
    if not math.isfinite(best["mean"]):
        return []
    equal = [entry["setting"] for entry in entries if entry["mean"] == best["mean"] and not entry["stopped"]]
    for name, axis in axes.items():
        tried = [entry["setting"][name] for entry in entries]
        if axis.closed or not _numbers(tried) or len(set(tried)) < 2:
            continue
        sides = {_side(setting[name], tried, axis) for setting in equal}
        value = best["setting"][name]
        if sides == {"larger"}:
            where = "the largest tried" if axis.values else "at the upper end of its range"
        elif sides == {"smaller"} and value != 0 and not (isinstance(value, int) and value == 1):
            where = "the smallest tried" if axis.values else "at the lower end of its range"
        else:
            continue
        remarks.append(f"{name} {value} is {where}: try {min(sides)}")
    return remarks


def _side(value: Any, tried: Sequence[Any], axis: Axis) -> str:
    if axis.values:
        return "larger" if value == max(tried) else "smaller" if value == min(tried) else ""
    position = axis.position(value)
    return "larger" if position >= 1 - _EDGE else "smaller" if position <= _EDGE else ""


def _importance(entries: Sequence[Entry], axes: Mapping[str, Axis]) -> dict[str, Any] | None:
    """Shares of the variance; None for a single argument or too few settings."""
    sound = [entry for entry in entries if math.isfinite(entry["compared"])]
    y = np.array([entry["compared"] for entry in sound])
    if len(axes) < 2 or len(sound) < importance.MIN_SETTINGS or np.ptp(y) == 0:
        return None
    x = np.array([[_position(axis, entry["setting"][k]) for k, axis in axes.items()] for entry in sound])
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


def _position(axis: Axis, value: Any) -> float:
    """Where a value of a setting is, in which the lists that were given for an argument are tuples."""
    return axis.position(next((given for given in axis.values if _tuple(given) == value), value))


def _ways(rows: Rows) -> list[list[Any]]:
    """Execution of the runs: its kind, number of runs, seconds, and number and seconds of compilations."""
    ways: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        ways.setdefault(row["execution"] if "execution" in row else row["way"], []).append(row)
    return [
        [way, len(same), sum(r["seconds"] for r in same), sum(len(r["compiled"]) for r in same),
         sum(sum(r["compiled"]) for r in same)]
        for way, same in ways.items()
    ]  # fmt: skip
