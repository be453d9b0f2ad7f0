"""A study as one page: what was asked, by which command, and what many runs say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from deeplab.report.document import document, save
from deeplab.report.page import summary
from deeplab.report.text import Html, join, tag


def write(
    directory: Path,
    name: str,
    *,
    source: str,
    command: str,
    facts: Mapping[str, Any],
    sections: Sequence[Html],
    kind: str = "study",
) -> Path:
    """Writes `report.html`, and gives its path.

    Args:
      directory: of the study.
      name: of the experiment.
      source: of its file, whose docstring's first line stands below the name.
      command: that made it.
      facts: shown in a row, by name.
      sections: the body.
      kind: of page.

    Raises:
      UserError: it cannot be written.
    """
    shown = [tag("div", tag("dt", what), tag("dd", value)) for what, value in facts.items()]
    header = join(
        tag("p", f"{directory.name} · {kind}", class_="eyebrow"),
        tag("h1", name),
        tag("p", summary(source), class_="muted"),
        tag("pre", command, class_="command", title="click selects the whole command"),
        tag("dl", *shown, class_="facts"),
    )
    kept = tag("details", tag("summary", "Source of the experiment"), tag("pre", source))
    body = join(header, *sections, tag("h2", "Record"), kept)
    return save(directory / "report.html", document(f"{name} · {kind}", body))


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
    """A table whose cells are shaded from `low` (none) to `high` (full); one that is NaN stays empty.

    Args:
      rows: their names.
      columns: likewise.
      values: what the shade stands for.
      text: of the cell in row i and column j.
      low, high: values beyond are shaded like these.
      bad: shade in the colour of mistakes.
    """
    head = tag("tr", tag("th"), *(tag("th", column, scope="col") for column in columns))
    lines = []
    for i, row in enumerate(rows):
        cells = []
        for j in range(len(columns)):
            if not np.isfinite(values[i, j]):
                cells.append(tag("td", text(i, j)))
                continue
            share = 100 * float(np.clip((values[i, j] - low) / (high - low), 0, 1))
            kind = ("miss" if bad else "hit") + (" full" if share > 60 else "")
            cells.append(tag("td", text(i, j), class_=kind, style=f"--share: {share:.0f}%"))
        lines.append(tag("tr", tag("th", row, scope="row"), *cells))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *lines), class_="confusion"), class_="scroll")
