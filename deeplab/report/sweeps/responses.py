"""The effect of each argument: curves and points, a table where there are categories, and a heat map.

An effect is never a mean over the other arguments that says nothing of it: see `_series`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from deeplab.report import figures
from deeplab.report.shading import heat
from deeplab.report.sweeps import points
from deeplab.report.sweeps.intervals import LEVEL
from deeplab.report.text import Html, is_share, metric, note, table, tag

_CELLS = 12  # most values of an argument in a heat map
_LINES = 6  # most values of another argument that become a line each

Entries = list[Mapping[str, Any]]


class Series(NamedTuple):
    """The effect of an argument, and what the other arguments are meanwhile.

    Attributes:
      lines: Settings by label, one for each value of the argument.
      said: What the other arguments are, as the end of a caption.
      chosen: Whether they differ from value to value, as the best ones do.
    """

    lines: dict[str, Entries]
    said: str
    chosen: bool = False


def sections(summary: Mapping[str, Any]) -> list[Html]:
    """A chart for each number, points with a table for each other argument, and a heat map for a grid of two."""
    drawn = [
        (_points if axis["categorical"] else _curve)(summary, argument, f"axis-{i}")
        for i, (argument, axis) in enumerate(summary["axes"].items())
    ]
    return [_footing(summary), tag("div", *drawn, class_="grid"), *_heat(summary)]


def _series(summary: Mapping[str, Any], argument: str) -> Series:
    """The settings in which an effect is shown.

    Where one other argument has a few values, each is a line. Where there are more, each value of the argument is shown
    at the setting of the others that is best with it.
    """
    entries, axes = summary["settings"], summary["axes"]
    others = [name for name in axes if name != argument]
    if not others:
        return Series({"": entries}, "")
    first = others[0]
    if len(others) == 1 and axes[argument]["values"] and 1 < len(axes[first]["values"]) <= _LINES:
        lines = {
            str(value): [entry for entry in entries if entry["setting"][first] == value]
            for value in axes[first]["values"]
        }
        return Series({label: found for label, found in lines.items() if found}, f", one line for each {first}")
    best: dict[str, Mapping[str, Any]] = {}
    for entry in sorted(entries, key=lambda e: _loss(e, summary["smaller"])):
        best.setdefault(repr(entry["setting"][argument]), entry)
    return Series({"": [*best.values()]}, f", each value at the {' and '.join(others)} that is best with it", True)


def _sound(entry: Mapping[str, Any]) -> bool:
    return math.isfinite(entry["compared"]) and not entry["diverged"]


def _loss(entry: Mapping[str, Any], smaller: bool) -> float:
    return (entry["compared"] if smaller else -entry["compared"]) if _sound(entry) else math.inf


def _curve(summary: Mapping[str, Any], argument: str, name: str) -> Html:
    axis, entries, measured = summary["axes"][argument], summary["settings"], summary["metric"]
    x = np.array([entry["setting"][argument] for entry in entries], float)
    if axis["values"]:
        series = _series(summary, argument)
        drawn = [
            line
            for i, (label, found) in enumerate(series.lines.items())
            for line in _lines(label, found, argument, figures.SERIES[i % len(figures.SERIES)])
        ]
        said = series.said
    else:
        drawn, said = _cloud(summary, argument)
    svg = figures.curves(drawn, share=is_share(measured), span="all", x_label=argument, counts=False,
                         log_x=bool(x.min() > 0 and (axis["log"] or x.max() >= 10 * x.min())))  # fmt: skip
    caption = tag("figcaption", tag("b", argument), f"{measured}{said}")
    return tag("figure", caption, figures.inline(svg, f"{measured} over {argument}", name))


def _lines(label: str, entries: Entries, argument: str, color: str) -> list[figures.Line]:
    """The runs as points, and the means of the settings as a line with the band of their intervals."""
    entries = sorted(entries, key=lambda entry: entry["setting"][argument])
    at = np.array([entry["setting"][argument] for entry in entries for _ in entry["points"]], float)
    runs = np.array([value for entry in entries for value in entry["points"].values()], float)
    sound = [entry for entry in entries if _sound(entry)]
    x = np.array([entry["setting"][argument] for entry in sound], float)
    mean = np.array([entry["compared"] for entry in sound], float)
    band = None
    if sound and all(entry["from"] is not None for entry in sound):
        finite = runs[np.isfinite(runs)]
        span = np.ptp(finite)  # an interval of two seeds may be much wider than the chart
        low, high = (np.array([entry[end] for entry in sound], float) for end in ("from", "to"))
        band = (np.maximum(low, finite.min() - span), np.minimum(high, finite.max() + span))
    return [figures.Line("", at, runs, color, points=True), figures.Line(label, x, mean, color, band=band)]


def _cloud(summary: Mapping[str, Any], argument: str) -> tuple[list[figures.Line], str]:
    """The settings of a range from which values were drawn, with the mean over the others that the forest knows."""
    entries = sorted(summary["settings"], key=lambda entry: entry["setting"][argument])
    x = np.array([entry["setting"][argument] for entry in entries], float)
    y = np.array([entry["compared"] if _sound(entry) else math.nan for entry in entries], float)
    color, found = figures.SERIES[0], summary["importance"]
    others = " and ".join(name for name in summary["axes"] if name != argument)
    lines, said = [figures.Line("", x, y, color, points=True)], ", the mean of each setting"
    said += f", of any {others}" * bool(others)
    if found is not None:
        at, curve = map(np.array, found["curves"][argument])
        lines.append(figures.Line("mean", at, curve, color))
        said += f"; the line is the mean over {others}, of a random forest"
    return lines, said


def _points(summary: Mapping[str, Any], argument: str, name: str) -> Html:
    """Points with intervals; and a table of the settings, where they differ in more than the argument."""
    measured, series = summary["metric"], _series(summary, argument)
    marks = [
        points.Mark(str(entry["setting"][argument]), [*entry["points"].values()], entry["from"], entry["to"], label,
                    entry["stopped"])
        for label, found in series.lines.items()
        for entry in found
    ]  # fmt: skip
    labels = list(dict.fromkeys(mark.label for mark in marks))  # the best first, as the settings are
    kept, rest = labels[: points.ROWS], f"; the best {points.ROWS} of {len(labels)}" * (len(labels) > points.ROWS)
    svg = points.intervals([mark for mark in marks if mark.label in kept], x_label=measured, share=is_share(measured))
    caption = tag("figcaption", tag("b", argument), f"{measured}{series.said.replace('one line', 'one color')}{rest}")
    figure = tag("figure", caption, figures.inline(svg, f"{measured} of each {argument}", name))
    if not series.chosen:
        return figure
    shown = [entry for entry in series.lines[""] if str(entry["setting"][argument]) in kept]
    others = [other for other in summary["axes"] if other != argument]
    lines = [
        [entry["setting"][argument], *(entry["setting"][other] for other in others),
         metric(measured, entry["compared"]), told_interval(measured, entry["from"], entry["to"]), state(entry)]
        for entry in shown
    ]  # fmt: skip
    head = [argument, *others, measured, f"{100 * LEVEL:.0f} % interval", ""]
    return tag("div", figure, table(head, lines, class_="numbers"))


def told_interval(name: str, low: float | None, high: float | None) -> str:
    """The ends of an interval; a dash where there is none.

    Example:
      >>> told_interval("accuracy", 0.9, 0.95), told_interval("loss", None, None)
      ('90.00 % to 95.00 %', '–')
    """
    return "\u2013" if low is None or high is None else f"{metric(name, low)} to {metric(name, high)}"


def state(entry: Mapping[str, Any]) -> str:
    """What happened to the runs of a setting that did not finish.

    Example:
      >>> state({"diverged": 1, "stopped": True}), state({"diverged": 0, "stopped": False})
      ('1 diverged, stopped', '')
    """
    return ", ".join([f"{entry['diverged']} diverged"] * bool(entry["diverged"]) + ["stopped"] * entry["stopped"])


def _heat(summary: Mapping[str, Any]) -> list[Html]:
    """A heat map of two arguments of a grid."""
    axes, name = summary["axes"], summary["metric"]
    if len(axes) != 2 or any(not 2 <= len(axis["values"]) <= _CELLS for axis in axes.values()):
        return []
    (first, rows), (second, columns) = ((k, axis["values"]) for k, axis in axes.items())
    cells = {(e["setting"][first], e["setting"][second]): e["compared"] for e in summary["settings"]}
    values = np.array([[cells.get((r, c), math.nan) for c in columns] for r in rows])
    if not np.any(np.isfinite(values)) or np.ptp(values[np.isfinite(values)]) == 0:
        return []
    low, high = np.nanmin(values), np.nanmax(values)
    if summary["smaller"]:
        low, high = high, low
    grid = heat([f"{first} {r}" for r in rows], columns, values, lambda i, j: metric(name, values[i, j]),
                low=float(low), high=float(high))  # fmt: skip
    return [tag("h3", f"{first} and {second}"), grid]


def _footing(summary: Mapping[str, Any]) -> Html:
    stopped = any(entry["stopped"] for entry in summary["settings"])
    where = "at the first rung, the last step that all settings reached" if stopped else "at the last step"
    several = len(summary["settings"][0]["points"]) > 1
    band = f" Bands and bars are {100 * LEVEL:.0f} % intervals of the mean by Student's t over {summary['over']}."
    return note(
        f"A point is a {summary['unit']}, and a line or a large point the mean of a setting, {where}. A cross is a run "
        f"that diverged; a faint row is a setting that was stopped there.{band * several}"
    )
