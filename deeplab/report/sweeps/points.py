"""Points and intervals as SVG: one row for each setting, with its runs, their mean and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deeplab.report import figures

ROWS = 24
"""Most rows of a figure."""


class Mark(NamedTuple):
    """A setting in a figure.

    Attributes:
      label: Label of its row; settings of one label share a row.
      values: Values of its runs; those that are not finite are a cross at the left.
      low, high: Ends of the interval of their mean; None where there is none.
      series: What tells the settings of a row apart, by color.
      faint: Whether it stays in the background, as a setting that was stopped does.
    """

    label: str
    values: Sequence[float]
    low: float | None = None
    high: float | None = None
    series: str = ""
    faint: bool = False


def intervals(marks: Sequence[Mark], *, x_label: str, share: bool = False) -> str:
    """A figure with a row for each label, from top to bottom.

    The axis spans the runs, and at most twice their span to each side: a wider interval, as that of two seeds is, runs
    out of the figure.

    Args:
      marks: Settings, in the order of their rows.
      x_label: Name of what is measured.
      share: Whether it is in percent.

    Returns:
      The text of an SVG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    labels, series = (list(dict.fromkeys(getattr(mark, key) for mark in marks)) for key in ("label", "series"))
    row = 0.15 + 0.16 * len(series)  # inches
    above, below = (0.3 if len(series) > 1 else 0.08), 0.42
    height = row * len(labels) + above + below
    left = min(0.5, 0.03 + 0.0125 * max(map(len, labels), default=0))
    figure = Figure(figsize=(5.2, height))
    axes = figure.add_axes((left, below / height, 0.97 - left, row * len(labels) / height))
    for mark in marks:
        k = series.index(mark.series)
        offset = (k - (len(series) - 1) / 2) * 0.7 / len(series)
        _draw(axes, mark, labels.index(mark.label) + offset, figures.SERIES[k % len(figures.SERIES)])
    axes.set_xlim(*_limits(marks))
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), [label[:40] for label in labels], parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %" if share else f"{x:g}"))
    axes.set_xlabel(x_label, color=figures.MUTED, fontsize=8.5, loc="right", labelpad=2)
    axes.tick_params(colors=figures.MUTED, labelsize=8.5, length=0, pad=5)
    axes.grid(axis="x", color=figures.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(figures.GRID)
    if len(series) > 1:
        for k, name in enumerate(series):
            axes.plot([], [], "o", color=figures.SERIES[k % len(figures.SERIES)], ms=4, label=name[:24])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=8.5,
                    labelcolor="linecolor", borderpad=0, handletextpad=0, columnspacing=1)  # fmt: skip
    return figures.svg_of(figure)


def _limits(marks: Sequence[Mark]) -> tuple[float, float]:
    values = np.array([value for mark in marks for value in mark.values if math.isfinite(value)] or [0.0])
    ends = [end for mark in marks for end in (mark.low, mark.high) if end is not None]
    low, high = float(values.min()), float(values.max())
    span = high - low or abs(high) / 10 or 1.0
    least, most = max(min([low, *ends]), low - 2 * span), min(max([high, *ends]), high + 2 * span)
    margin = 0.05 * (most - least) or span / 2
    return least - margin, most + margin


def _draw(axes, mark: Mark, height: float, color: str) -> None:
    finite = [value for value in mark.values if math.isfinite(value)]
    alpha = 0.4 if mark.faint else 1.0
    if mark.low is not None and mark.high is not None:
        axes.plot([mark.low, mark.high], [height] * 2, color=color, linewidth=1.6, alpha=alpha, solid_capstyle="butt")
    below = height + 0.11 if len(mark.values) > 1 else height  # where the bar does not hide them
    axes.plot(finite, [below] * len(finite), "o", color=color, ms=3.2, alpha=0.55 * alpha, markeredgewidth=0)
    if len(finite) == len(mark.values):
        axes.plot([float(np.mean(finite))], [height], "o", color=color, ms=5.5, alpha=alpha, markeredgewidth=0)
    else:
        axes.plot([0.01], [height], "x", color=figures.BAD, ms=5, transform=axes.get_yaxis_transform(), clip_on=False)
