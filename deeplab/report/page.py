"""One run directory as one page, which needs no network, no script and no file beside it."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.report import calibration, cards, classification, figures, language, speed
from deeplab.report.document import document, save
from deeplab.report.record import Run, number, read
from deeplab.report.text import Html, duration, is_share, join, metric, table, tag, wilson

_COLUMNS = 8
"""Metrics that stand beside one another in a table; if there are more, they stand below one another."""


def write(run_dir: str | Path) -> Path:
    """Writes `report.html` and `figures/*.svg` into a run directory, finished or not, and gives the page's path.

    Raises:
      UserError: it is no run directory, or cannot be written.
    """
    run = read(run_dir)
    predictions, problem = _predictions(run)
    body = join(
        _header(run, predictions),
        _curves(run),
        _final(run),
        classification.sections(predictions, run.record.get("class_names"), _eval_split(run)),
        calibration.sections(predictions, run.record.get("class_names")),
        _positions(run, predictions),
        language.samples(run),
        cards.sections(run),
        tag("p", problem, class_="notice") if problem else "",
        speed.sections(run),
        _record(run),
    )
    return save(run.directory / "report.html", document(f"{run.record['experiment']} · {run.name}", body))


def _predictions(run: Run) -> tuple[dict[str, np.ndarray], str]:
    """The predictions, empty where there are none, and what is wrong with them."""
    try:
        return run.predictions() or {}, ""
    except UserError as error:
        return {}, str(error)


def _eval_split(run: Run) -> str:
    return run.splits[0] if run.splits else "test"


def _header(run: Run, predictions: dict[str, np.ndarray]) -> Html:
    record = run.record
    return join(
        tag("p", f"{run.name} · {record.get('task', 'experiment')}", class_="eyebrow"),
        tag("h1", record["experiment"]),
        tag("p", summary(run.text("source.py")), class_="muted"),
        _headline(run, predictions),
        _notices(run),
        tag("pre", _command(run), class_="command", title="click selects the whole command"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in _facts(run)), class_="facts"),
    )


def _command(run: Run) -> Html:
    """The command, a line break nowhere but between its words."""
    words = str(run.record.get("command", "")).split(" ")
    return join(tag("span", words[0]), *(join(" ", tag("span", word)) for word in words[1:]))


def summary(source: str | None) -> str:
    """The first line of a source file's docstring; the source is parsed, never run."""
    try:
        return (ast.get_docstring(ast.parse(source or "")) or "").partition("\n")[0]
    except (SyntaxError, ValueError, RecursionError):
        return ""


def _headline(run: Run, predictions: dict[str, np.ndarray]) -> Html:
    headline = run.headline
    if headline is None:
        return tag("div", tag("span", "Not evaluated yet"), class_="headline")
    split, name, value, step = headline
    best, values = run.best(split)
    steps, _ = run.series(split, name)
    monitored = run.monitor.name
    which = "the last step" if step >= run.step else "the last evaluation"
    if best != step and name in values:
        which += f", not the best by {monitored}: that was step {best:,}, with {metric(name, values[name])}"
    elif len(steps) > 1:
        which += f", also the best of {len(steps)} by {monitored}"
    notes = [f"At step {step:,}, {which}."]
    right, total = classification.right(predictions)
    if name == "accuracy" and total and math.isclose(right / total, value, abs_tol=1e-6):  # else of another step
        low, high = (metric(name, bound) for bound in wilson(right, total))
        notes.append(f"{right:,} of {total:,} right; 95 % interval {low} to {high}.")
    if "perplexity" in (last := run.last(split)[1]) and "loss" in last:
        notes.append(f"Perplexity {last['perplexity']:.4g}, {last['loss'] / np.log(2):.4g} bits a token.")
    what = tag("div", tag("strong", metric(name, value)), tag("span", f"{split} {name}"), class_="headline")
    return join(what, tag("p", " ".join(notes).replace(" %", "\u00a0%"), class_="muted"))


def _notices(run: Run) -> Html:
    notices = []
    if run.failure is not None and run.status == "diverged":
        message = str(run.failure.get("message") or "a value is not finite")
        where = [f"{key} {run.failure[key]}" for key in ("layer", "primitive") if run.failure.get(key)]
        if str(run.failure.get("layer")) not in message:
            message += f" ({', '.join(where)})" if where else ""
        notices.append(f"Diverged at step {run.failure.get('step', 'unknown')}: {message}")
    if run.damaged:
        notices.append(f"{run.damaged} lines of metrics.jsonl could not be read and are left out.")
    return join(*(tag("p", notice, class_="notice") for notice in notices))


def _facts(run: Run) -> list[tuple[str, Any]]:
    record, git = run.record, run.record.get("git") or {}
    steps = f"{run.step:,} of {run.num_steps:,}" if run.status != "finished" else f"{run.step:,}"
    resumed = int(number((run.result or {}).get("resumed"), 0))
    rate = run.steps_per_second * run.units_per_step
    devices = record.get("devices") or []
    commit = str(git.get("commit") or "unknown")[:10]
    facts = [
        ("status", tag("span", run.status, class_=f"status {run.status}")),
        ("steps", steps + (f", resumed {resumed} times" if resumed > 1 else ", resumed once" if resumed else "")),
        ("training time", duration(run.seconds)),
        ("throughput", f"{rate:,.0f} {run.unit}/s" if rate > 0 else "unknown"),
        ("parameters", f"{int(number(record.get('num_params'), 0)):,}"),
        ("batch size", record.get("batch_size", "unknown")),
        ("hardware", f"{len(devices)} \u00d7 {record.get('device_kind', 'unknown')}" if devices else "unknown"),
        ("mesh", record.get("mesh")),
        ("steps per dispatch", record.get("steps_per_dispatch")),
        ("seed", record.get("seed", 0)),
        ("started", str(record.get("started", "unknown")).replace("T", " ")[:19]),
        ("commit", commit + (" + local changes" if git.get("dirty") else "")),
    ]
    return [(name, value) for name, value in facts if value not in (None, "")]


def _colour(run: Run, split: str) -> str:
    return figures.TRAIN if split == "train" else figures.SERIES[run.splits.index(split) % len(figures.SERIES)]


def _curves(run: Run) -> Html:
    drawn = []
    for name in run.metrics:
        # The training curve first: it is the background of what was not trained on.
        lines = [figures.Line(s, *run.series(s, name), _colour(run, s)) for s in reversed(run.splits)]
        lines = [line for line in lines if len(line.values)]
        if lines:
            bad = sum(int(np.sum(~np.isfinite(line.values))) for line in lines)
            note = f"{bad} not finite (crosses)" if bad else ""
            drawn.append(_figure(run, name, note, figures.curves(lines, share=is_share(name))))
    steps, rates = run.series("train", "steps_per_second")
    if run.steps_per_second > 0:
        note = f"median {run.steps_per_second * run.units_per_step:,.0f} {run.unit}/s"
        line = figures.Line("", steps, rates * run.units_per_step, figures.SERIES[0])
        drawn.append(_figure(run, "throughput", note, figures.curves([line], log=False, span="zero")))
    if not drawn:
        return join(tag("h2", "Curves"), tag("p", "Nothing has been logged yet.", class_="muted"))
    return join(tag("h2", "Curves"), tag("div", *drawn, class_="grid"))


def _figure(run: Run, name: str, note: str, svg: str) -> Html:
    """A figure of the page, which also becomes a file of its own under `figures/`."""
    file = re.sub(r"\W+", "-", name).strip("-") or "figure"
    save(run.directory / "figures" / f"{file}.svg", svg)
    return tag(
        "figure", tag("figcaption", tag("b", name), note), figures.inline(svg, f"{name}, {note}".rstrip(", "), file)
    )


def _positions(run: Run, predictions: dict[str, np.ndarray]) -> Html:
    token_loss = predictions.get("token_loss")
    if token_loss is None or token_loss.ndim != 2 or not np.any(token_loss):
        return Html("")
    line = language.loss_by_position(token_loss)
    svg = figures.curves([line], log=False, span="all", x_label="tokens read")
    note = f"mean over {len(token_loss):,} windows of the {_eval_split(run)} split"
    figure = tag("div", _figure(run, "loss by position", note, svg), class_="grid")
    return join(tag("h2", "Loss by place in the window"), figure)


def _final(run: Run) -> Html:
    rows = []
    for split in run.splits:
        step, values = run.last(split)
        rows.append([f"{split}, last", f"{step:,}", *_cells(run.metrics, values)])
        best, values = run.best(split)
        if split != "train" and values and best != step:
            name = f"{split}, best {run.monitor.name}"
            rows.append([name, f"{best:,}", *_cells(run.metrics, values)])
    if not rows:
        return Html("")
    head = ["split", "step", *run.metrics]
    if len(run.metrics) > _COLUMNS:
        head, *rows = map(list, zip(head, *rows, strict=True))
    return join(tag("h2", "Metrics"), table(head, rows, class_="numbers"))


def _cells(metrics: Sequence[str], values: dict[str, float]) -> list[str]:
    return [metric(name, values[name]) if name in values else "" for name in metrics]


def _record(run: Run) -> Html:
    """How to make the run again: arguments, versions, source and changes."""
    arguments = table([], [[name, tag("code", value)] for name, value in run.arguments.items()])
    versions = table([], [[name, tag("code", value)] for name, value in dict(run.record.get("versions") or {}).items()])
    files = [("Source of the experiment", "source.py"), ("Changes since the commit", "diff.patch")]
    folded = [
        tag("details", tag("summary", title), tag("pre", text)) for title, file in files if (text := run.text(file))
    ]
    folded.append(tag("details", tag("summary", "Versions"), versions))
    return join(tag("h2", "Arguments"), arguments, tag("h2", "Record"), *folded)
