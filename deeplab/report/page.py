"""One run directory as one page, which needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplab.core.errors import UserError
from deeplab.report import artifacts, figures, speed
from deeplab.report.document import document, save
from deeplab.report.header import header
from deeplab.report.record import RunRecord, read
from deeplab.report.render import Site, figure
from deeplab.report.text import Html, folded, is_share, join, metric, note, number, table, tag

_COLUMNS = 8
"""Number of metrics that fit side by side in a table; more of them become its rows."""


def write(run_dir: str | Path) -> Path:
    """Writes `report.html` and `figures/*.svg` into a run directory.

    The page of a sweep or a study, which its own command alone can write, stays as it is.

    Args:
      run_dir: Directory of a run, finished or not.

    Returns:
      The path of the page.

    Raises:
      UserError: The directory is not that of a run, or cannot be written; or it is that of a sweep or a study, and
        has no page yet.

    Example:
      >>> import json, tempfile
      >>> from pathlib import Path
      >>> folder = Path(tempfile.mkdtemp())  # stands for the directory of a run
      >>> told = {"experiment": "image_digits", "arguments": {"width": 32}, "num_steps": 100}
      >>> _ = (folder / "run.json").write_text(json.dumps(told), encoding="utf-8")
      >>> write(folder).name
      'report.html'
    """
    run = read(run_dir)
    if (kind := run.record.get("task")) in ("sweep", "study"):
        page = run.directory / "report.html"
        if not page.exists():
            command = run.record.get("command")
            raise UserError(f"{run.directory} is a {kind} without a page yet; its own command writes it:\n  {command}")
        return page
    folder = run.directory / "figures"
    found = artifacts.load(run)
    body = join(
        header(run, artifacts.headlines(found)),
        _curves(run, folder),
        _metrics(run),
        artifacts.sections(found, folder),
        speed.sections(run),
        _record(run),
    )
    return save(run.directory / "report.html", document(f"{run.record['experiment']} · {run.name}", body))


def _color(run: RunRecord, split: str) -> str:
    return figures.TRAIN if split == "train" else figures.SERIES[run.splits.index(split) % len(figures.SERIES)]


def _curves(run: RunRecord, folder: Path) -> Html:
    drawn = []
    for name in run.metrics:
        # The training curve first: it is the background of the evaluations.
        lines = [figures.Line(s, *run.series(s, name), _color(run, s)) for s in reversed(run.splits)]
        lines = [line for line in lines if len(line.values)]
        if lines:
            bad = sum(int(np.sum(~np.isfinite(line.values))) for line in lines)
            drawn.append(
                (name, f"{bad} not finite (crosses)" if bad else "", figures.curves(lines, share=is_share(name)))
            )
    steps, rates = run.series("train", "steps_per_second")
    if run.steps_per_second > 0:
        median = f"median {run.steps_per_second * run.units_per_step:,.0f} {run.unit}/s"
        line = figures.Line("", steps, rates * run.units_per_step, figures.SERIES[0])
        drawn.append(("throughput", median, figures.curves([line], log=False, span="zero")))
    if not drawn:
        return join(tag("h2", "Curves"), note("Nothing has been logged yet."))
    shown = [
        figure(name, caption, svg, Site(f"curve-{i}", folder=folder)) for i, (name, caption, svg) in enumerate(drawn)
    ]
    return join(tag("h2", "Curves"), tag("div", *shown, class_="grid"))


def _metrics(run: RunRecord) -> Html:
    rows = []
    for split in run.splits:
        if split not in run.final and not any(row["split"] == split for row in run.rows):
            continue  # it was only evaluated afterwards
        step, values = run.last(split)
        rows.append([f"{split}, last", f"{step:,}", *_cells(run.metrics, values)])
        best, values = run.best(split)
        if split != "train" and values and best != step:
            rows.append([f"{split}, best {run.monitor.name}", f"{best:,}", *_cells(run.metrics, values)])
    for row in run.evaluations:
        values = {name: number(value) for name, value in row["metrics"].items()}
        rows.append([f"{row['split']}, evaluated {str(row.get('time', ''))[:10]}", f"{row['step']:,}",
                     *_cells(run.metrics, values)])  # fmt: skip
    if not rows:
        return Html("")
    head = ["split", "step", *run.metrics]
    if len(run.metrics) > _COLUMNS:
        head, *rows = map(list, zip(head, *rows, strict=True))
    return join(tag("h2", "Metrics"), table(head, rows, class_="numbers"))


def _cells(metrics: Sequence[str], values: dict[str, float]) -> list[str]:
    return [metric(name, values[name]) if name in values else "" for name in metrics]


def _record(run: RunRecord) -> Html:
    """What it takes to repeat the run: arguments, versions, source and local changes."""
    arguments = table([], [[name, tag("code", value)] for name, value in run.arguments.items()])
    versions = table([], [[name, tag("code", value)] for name, value in dict(run.record.get("versions") or {}).items()])
    files = [("Source of the experiment", "source.py"), ("Changes since the commit", "diff.patch")]
    kept = [folded(title, text) for title, file in files if (text := run.text(file))]
    kept.append(tag("details", tag("summary", "Versions"), versions))
    return join(tag("h2", "Arguments"), arguments, tag("h2", "Record"), *kept)
