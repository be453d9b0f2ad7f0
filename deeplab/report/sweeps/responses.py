"""The effect of each argument of a sweep: response curves, tables and a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.report import figures
from deeplab.report.shading import heat
from deeplab.report.text import Html, is_share, metric, note, table, tag

_CELLS = 12  # most values of an argument in a heat map


def sections(summary: Mapping[str, Any]) -> list[Html]:
    """A chart for each numeric argument, a table for each other one, and a heat map for a grid of two."""
    name, drawn, tables = summary["metric"], [], []
    for i, (argument, axis) in enumerate(summary["axes"].items()):
        numbers = all(isinstance(e["setting"][argument], (int, float)) and not isinstance(e["setting"][argument], bool)
                      for e in summary["settings"])  # fmt: skip
        if not numbers:
            tables.append(_categories(summary, argument))
            continue
        entries = sorted(summary["settings"], key=lambda e: e["setting"][argument])
        x = np.array([e["setting"][argument] for e in entries], float)
        y = np.array([math.nan if e["diverged"] else e["compared"] for e in entries])
        color = figures.SERIES[i % len(figures.SERIES)]
        lines = [figures.Line("", x, y, color, points=True), *_mean_line(summary, argument, entries, x, y, color)]
        svg = figures.curves(lines, share=is_share(name), span="all", x_label=argument, counts=False,
                             log_x=bool(x.min() > 0 and (axis["log"] or x.max() >= 10 * x.min())))  # fmt: skip
        caption = tag("figcaption", tag("b", argument), f"{name}")
        drawn.append(tag("figure", caption, figures.inline(svg, f"{name} over {argument}", f"axis-{i}")))
    return [_footing(summary), *[tag("div", *drawn, class_="grid")] * bool(drawn), *tables, *_heat(summary)]


def _mean_line(
    summary: Mapping[str, Any],
    argument: str,
    entries: Sequence[Mapping[str, Any]],
    x: np.ndarray,
    y: np.ndarray,
    color: str,
) -> list[figures.Line]:
    """The mean over all other arguments, of the grid or the forest; for a single argument with the spread of seeds."""
    found = summary["importance"]
    if not summary["axes"][argument]["values"]:
        if found is None:
            return []
        at, curve = map(np.array, found["curves"][argument])
        return [figures.Line("mean", at, curve, color)]
    positions = np.unique(x)
    sound = np.isfinite(y)
    means = np.array([y[(x == at) & sound].mean() if np.any((x == at) & sound) else math.nan for at in positions])
    known, band = np.isfinite(means), None
    if (
        len(summary["axes"]) == 1
        and all(entry["sd"] is not None for entry in entries)
        and len(positions) == len(entries)
    ):
        spread = np.array([entry["sd"] for entry in entries])[known]
        band = (means[known] - spread, means[known] + spread)
    return [figures.Line("mean", positions[known], means[known], color, band=band)]


def _categories(summary: Mapping[str, Any], argument: str) -> Html:
    name, groups = summary["metric"], {}
    for entry in summary["settings"]:
        groups.setdefault(entry["setting"][argument], []).append(entry["compared"])
    lines = []
    for value, found in groups.items():
        sound = [x for x in found if math.isfinite(x)]
        best = (min if summary["smaller"] else max)(sound, default=math.nan)
        lines.append(
            [value, metric(name, float(np.mean(sound)) if sound else math.nan), metric(name, best), len(found)]
        )
    return Html(tag("h3", argument) + table([argument, f"mean {name}", "best", "settings"], lines, class_="numbers"))


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
    return note(f"A point is the mean of a setting over its seeds, {where}. A cross is a setting that diverged.")
