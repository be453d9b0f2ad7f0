"""Line charts as SVG. Matplotlib is imported when the first one is drawn, and its global state stays unchanged."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from deeplab.report.text import Html
from deeplab.report.ticks import log_ticks

# In a page a variable of the style sheet replaces each color, so that dark mode can change it.
INK, MUTED, GRID, BAD = "#1c1e21", "#6a7078", "#e3e5e8", "#c02f2f"
TRAIN = "#9aa1aa"
SERIES = ("#1767b3", "#c75a12", "#14805e", "#8a4bb8", "#b0801a", "#c2417f", "#3f8f9b", "#5d6b2f")
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule", BAD: "--bad", TRAIN: "--train"} | {
    color: f"--series-{i}" for i, color in enumerate(SERIES)
}

_FONT = 8.5  # points, of the labels of ticks
_PAGE, _HEIGHT = 5.2 * 72, 0.8 * 2.9 * 72  # points: width of a figure, height of its axes
_LONGEST = 18  # letters of a label at the end of a line

MAX_POINTS = 300
"""More points than this are averaged in bins: at 650 px a figure shows no more, and a page stays small."""


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
      label: Text at its end.
      steps: Horizontal positions of its points, [N].
      values: Vertical positions of its points, [N].
      color: One of the colors of this module.
      faint: Whether it stays in the background.
      points: Whether its points are marked in place of being joined.
      band: Lower and upper edges of a shaded band, [N] each.
    """

    label: str
    steps: np.ndarray
    values: np.ndarray
    color: str
    faint: bool = False
    points: bool = False
    band: tuple[np.ndarray, np.ndarray] | None = None


def curves(
    lines: Sequence[Line],
    *,
    share: bool = False,
    log: bool | None = None,
    span: Literal["late", "all", "zero"] = "late",
    x_label: str = "step",
    log_x: bool = False,
    counts: bool = True,
) -> str:
    """A line chart, each line labeled at its end.

    Points that are not finite are marked with a cross at the top, at their step. A training curve is smoothed by a
    running mean over a fortieth of its points, which stay visible behind it.

    Args:
      lines: Lines in the order of drawing.
      share: Whether the vertical axis is in percent.
      log: Whether the vertical axis is logarithmic; where None, if all values are positive and span more than a factor
        of ten.
      span: Range of a linear vertical axis: "late" for the values after the steep first tenth of the steps, "all", or
        "zero" for all values and zero.
      x_label: Label of the horizontal axis.
      log_x: Whether the horizontal axis is logarithmic; it begins at the first point then.
      counts: Whether a linear horizontal axis has whole numbers from 0, or from the first point if that is below 0; it
        spans the points otherwise.

    Returns:
      The text of an SVG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(5.2, 2.9))
    longest = max((len(line.label[:_LONGEST]) for line in lines), default=0)
    width = min(0.755, 0.87 - 0.0135 * longest)  # beside it there is room for the labels
    axes = figure.add_axes((0.115, 0.155, width, 0.8))
    finite = np.concatenate([line.values[np.isfinite(line.values)] for line in lines] or [np.empty(0)])
    if log is None:
        log = not share and len(finite) > 0 and finite.min() > 0 and finite.max() > 10 * finite.min()
    if log:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %" if share else _short(y)))
    for line in lines:
        _draw(axes, line)
    if span == "zero":
        axes.set_ylim(0, 1.15 * finite.max(initial=0) or 1)
    elif span == "late" and not log:
        _limit(axes, lines)
    _horizontal(axes, lines, log_x, counts, width * _PAGE)
    axes.autoscale_view()  # the ticks and the labels need the final limits
    if log:
        _log_ticks(axes.yaxis, axes.get_ylim(), _HEIGHT, lambda y: 2 * _FONT)
    _label(axes, lines)

    axes.set_xlabel(x_label, color=MUTED, fontsize=_FONT, loc="right", labelpad=4)
    axes.tick_params(colors=MUTED, labelsize=_FONT, length=0, pad=5)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    return svg_of(figure)


def inline(svg: str, label: str, prefix: str) -> Html:
    """An SVG file as an element of a page, colored by the page's style sheet.

    Args:
      svg: Text from `curves`.
      label: Description for readers who cannot see it.
      prefix: Prefix that makes its ids unique on the page; what is no letter, digit or line in it becomes a line.
    """
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", prefix)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 role="img" aria-label="@label">', svg, count=1)
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{prefix}-", svg).replace("xlink:href", "href")
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return Html(svg.replace("@label", html.escape(label), 1))


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Finite points in at most `MAX_POINTS` bins: mean step, mean, smallest and largest value, [N] each."""
    keep = np.isfinite(values)
    steps, values = steps[keep], values[keep]
    if len(values) <= MAX_POINTS:
        return steps, values, values, values
    starts = np.linspace(0, len(values), MAX_POINTS, endpoint=False).astype(int)
    sizes = np.diff(np.append(starts, len(values)))
    return (
        np.add.reduceat(steps, starts) / sizes,
        np.add.reduceat(values, starts) / sizes,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
    )


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """The centered running mean over `window` values, fewer at the ends, [N] -> [N]."""
    if window < 2:
        return values
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def _draw(axes, line: Line) -> None:
    steps, mean, low, high = thinned(line.steps, line.values)
    if line.band is not None:
        axes.fill_between(line.steps, *line.band, color=line.color, alpha=0.18, linewidth=0)
    window = len(mean) // 40 if line.color == TRAIN and not line.faint else 1
    if np.any(high > low):
        axes.fill_between(steps, low, high, color=line.color, alpha=0.18, linewidth=0)
    if line.faint or window > 1:
        axes.plot(steps, mean, color=line.color, alpha=0.4, linewidth=0.9)
    if not line.faint:
        marker = "o" if len(mean) < 3 or line.points else None
        width = 0 if line.points else 1.6
        axes.plot(steps, smoothed(mean, window), color=line.color, linewidth=width, marker=marker, ms=3.5)
    bad = line.steps[~np.isfinite(line.values)][:200]
    if len(bad):
        axes.plot(bad, [0.985] * len(bad), "x", color=BAD, ms=5, transform=axes.get_xaxis_transform(), clip_on=False)


def _horizontal(axes, lines: Sequence[Line], log_x: bool, counts: bool, length: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ends = [(line.steps[0], line.steps[-1]) for line in lines if len(line.steps)] or [(1, 1)]
    first, last = min(end[0] for end in ends), max(end[1] for end in ends)
    if log_x:
        axes.set_xscale("log")
        _log_ticks(axes.xaxis, (0.9 * first, 1.1 * last), length, lambda x: _FONT * (0.65 * len(_short(x)) + 0.8))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=counts))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
    margin = 0.04 * (last - first)
    linear = (min(0, int(first)), int(last)) if counts else (first - margin, last + margin)
    limits = (0.9 * first, 1.1 * last) if log_x else linear
    axes.set_xlim(*axes.xaxis.get_major_locator().nonsingular(*limits))  # of one point, some room around it


def _log_ticks(axis, limits: tuple[float, float], length: float, extents: Callable[[float], float]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(log_ticks(*limits, extents, length)))
    axis.set_minor_locator(NullLocator())


def _limit(axes, lines: Sequence[Line]) -> None:
    """Limits the vertical axis to the values after the first tenth of the steps, where most of the training happens."""
    steps = [line.steps for line in lines if len(line.steps)]
    start = 0.1 * max((s[-1] for s in steps), default=0)
    later = [line.values[(line.steps >= start) & np.isfinite(line.values)] for line in lines]
    values = np.concatenate(later or [np.empty(0)])
    if len(values) < 10:
        return
    low, high = values.min(), values.max()
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - margin, high + margin)


def _label(axes, lines: Sequence[Line]) -> None:
    """Writes each line's label at its end, moved apart so that none covers another."""
    transform = axes.transData + axes.transAxes.inverted()
    ends = []
    for line in lines:
        steps, mean, _, _ = thinned(line.steps, line.values)
        if len(mean) and line.label:
            ends.append((float(transform.transform((steps[-1], mean[-1]))[1]), line))
    gap, heights = 0.075, []
    for height, _ in sorted(ends, key=lambda end: end[0]):
        heights.append(max(min(max(height, 0.0), 1.0), heights[-1] + gap if heights else 0.0))
    excess = max(0.0, heights[-1] - 1.0) if heights else 0.0
    for height, (_, line) in zip(heights, sorted(ends, key=lambda end: end[0]), strict=True):
        color = MUTED if line.color == TRAIN else line.color
        axes.text(
            1.015, height - excess, line.label[:_LONGEST], color=color, fontsize=9, va="center",
            transform=axes.transAxes, parse_math=False,
        )  # fmt: skip


def _short(value: float) -> str:
    """The label of a tick: 0.05, 1,500, 25k, 3M."""
    for scale, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= max(scale, 1e4):
            return f"{value / scale:g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 1e3 else f"{value:g}"


def svg_of(figure) -> str:
    """The text of an SVG file, the same for the same figure of Matplotlib."""
    import matplotlib

    out = io.StringIO()
    # Text stays text (the page's font, selectable); a fixed salt makes the same run give the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "deeplab"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib's font lacks characters that the browser's has
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=none)
    svg = re.sub(r"font: (?:\w+ )?([\d.]+px) ", r"font-size: \1; font-family: ", out.getvalue())
    return re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", svg)
