"""Tables whose cells are shaded by a share: confusion matrices and heat maps; and the style of figures of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from deeplab.report.figures import GRID, INK, MUTED, SERIES
from deeplab.report.text import Html, metric, scrolling, tag

STYLE = {
    "axes.axisbelow": True,  # of bars, too
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.prop_cycle": f"cycler('color', {list(SERIES)})",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.dpi": 80,
    "figure.figsize": (7.0, 2.9),
    "font.size": 9,
    "grid.color": GRID,
    "image.cmap": "gray",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
"""The style of a report for figures of one's own: `matplotlib.pyplot.style.use(dl.report.STYLE)`."""


def confusion(counts: Int[np.ndarray, "K K"], names: Sequence[str]) -> Html:
    """Counts by label (rows) and prediction (columns), with the share of each label that is predicted correctly."""
    lines = []
    for k, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = int(row.sum())
        cells = [_count(int(n), total, k == j, f"{name}, predicted {names[j]}") for j, n in enumerate(row)]
        share = metric("accuracy", row[k] / total) if total else "none"
        lines.append((name, [*cells, tag("td", share, class_="end")]))
    vertical = max(map(len, names), default=0) > 3
    return _table([*(tag("th", name, scope="col", class_="tall" if vertical else None) for name in names),
                   tag("th", "correct", scope="col")], lines, "confusion matrix")  # fmt: skip


def heat(
    rows: Sequence[str],
    columns: Sequence[Any],
    values: Float[np.ndarray, "R C"],
    text: Callable[[int, int], str],
    *,
    low: float,
    high: float,
    bad: bool = False,
) -> Html:
    """A table with cells shaded from `low` (none) to `high` (full); a cell of NaN has no shade.

    Args:
      rows: Names of the rows.
      columns: Names of the columns.
      values: Values that the shade shows.
      text: Function from row and column to the text of a cell.
      low: Value without shade; smaller ones have none either.
      high: Value of full shade; larger ones have it, too.
      bad: Whether the shade has the color of mistakes.
    """
    lines = []
    for i, row in enumerate(rows):
        shares = [100 * float(np.clip((value - low) / (high - low), 0, 1)) for value in values[i]]
        cells = [tag("td", text(i, j)) if math.isnan(share) else _cell(text(i, j), share, bad)
                 for j, share in enumerate(shares)]  # fmt: skip
        lines.append((row, cells))
    return _table([tag("th", column, scope="col") for column in columns], lines, "shaded table")


def _count(count: int, total: int, hit: bool, title: str) -> Html:
    if not count:
        return tag("td")
    share = count / total
    # Mistakes are rare and must be visible: their shade grows with the root of the share, 1 % giving 10 % of the color.
    shade = 100 * (share if hit else math.sqrt(share))
    return _cell(count, shade, not hit, f"{title}: {count} of {total} ({metric('accuracy', share)})")


def _cell(content: Any, shade: float, bad: bool, title: str | None = None) -> Html:
    return tag("td", content, class_="miss" if bad else "hit", style=f"--share: {shade:.0f}%", title=title)


def _table(headings: Iterable[Html], lines: Iterable[tuple[str, Sequence[Html]]], label: str) -> Html:
    head = tag("thead", tag("tr", tag("td"), *headings))
    body = tag("tbody", *(tag("tr", tag("th", name, scope="row"), *cells) for name, cells in lines))
    return scrolling(tag("table", head, body, class_="confusion"), label)
