"""The top of a run's page: its name, its headline, its command and the facts about it."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab.core.blocks import Block
from deeplab.report.record import Headline, RunRecord
from deeplab.report.text import Html, duration, join, metric, note, number, shell, tag


def header(run: RunRecord, computed: Sequence[Block]) -> Html:
    """The top of the page.

    Args:
      run: The run.
      computed: Blocks of the kind `headline` from the run's artifacts.
    """
    record = run.record
    return join(
        tag("p", f"{run.name} · {record.get('task', 'experiment')}", class_="eyebrow"),
        tag("h1", record["experiment"]),
        note(summary(run.text("source.py"))),
        _headline(run, computed),
        _notices(run),
        shell(_command(run)),
        facts(_facts(run)),
    )


def facts(named: Sequence[tuple[str, Any]]) -> Html:
    """Names and values, side by side."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in named), class_="facts")


def summary(source: str | None) -> str:
    """The first line of the docstring of a source file, which is parsed and never run."""
    try:
        return (ast.get_docstring(ast.parse(source or "")) or "").partition("\n")[0]
    except (SyntaxError, ValueError, RecursionError):
        return ""


def _command(run: RunRecord) -> Html:
    """The command, with line breaks only between its words."""
    words = str(run.record.get("command", "")).split(" ")
    return join(tag("span", words[0]), *(join(" ", tag("span", word)) for word in words[1:]))


def _headline(run: RunRecord, computed: Sequence[Block]) -> Html:
    if not run.headlines:
        return tag("div", tag("span", "Not evaluated yet"), class_="headline")
    main, *others = run.headlines
    shown = [tag("strong", metric(main.metric, main.value)), tag("span", f"{main.split} {main.metric}")]
    shown += [tag("span", tag("b", metric(other.metric, other.value)), f" {other.metric}") for other in others]
    notes = [_which(run, main)]
    for block in computed:
        if block["label"] != main.metric:
            shown.append(tag("span", tag("b", metric(block["label"], block["value"])), f" {block['label']}"))
            notes.append(str(block["note"]))
        elif math.isclose(block["value"], main.value, abs_tol=1e-6):  # else it belongs to another step
            notes.append(str(block["note"]))
    if "perplexity" in (last := run.last(main.split)[1]) and "loss" in last:
        notes.append(f"Perplexity {last['perplexity']:.4g}, {last['loss'] / np.log(2):.4g} bits a token.")
    sentences = " ".join(filter(None, notes)).replace(" %", "\u00a0%")
    return join(tag("div", *shown, class_="headline"), note(sentences))


def _which(run: RunRecord, headline: Headline) -> str:
    """The evaluation of the headline, and how far it is from the best one."""
    split, name, _, step = headline
    best, values = run.best(split)
    steps, _ = run.series(split, name)
    which = "the last step" if step >= run.step else "the last evaluation"
    if best != step and name in values:
        which += f", not the best by {run.monitor.name}: that was step {best:,}, with {metric(name, values[name])}"
    elif best == step and values and len(steps) > 1:  # none is the best where no evaluation was finite
        which += f", also the best of {len(steps)} by {run.monitor.name}"
    return f"At step {step:,}, {which}."


def _notices(run: RunRecord) -> Html:
    notices = []
    if run.failure is not None and run.status == "diverged":
        message = str(run.failure.get("message") or "a value is not finite")
        where = [f"{key} {run.failure[key]}" for key in ("layer", "primitive") if run.failure.get(key)]
        if str(run.failure.get("layer")) not in message:
            message += f" ({', '.join(where)})" if where else ""
        notices.append(f"Diverged at step {run.failure.get('step', 'unknown')}: {message}")
    if run.status in ("crashed", "stopped"):
        why = (run.ended or {}).get("message") or "unknown"
        notices.append(f"{run.status.capitalize()} at step {run.step:,}: {why}")
    if run.told_early:
        notices.append(f"{run.told_early.capitalize()}.")
    if run.damaged:
        notices.append(f"{run.damaged} lines of metrics.jsonl could not be read and are left out.")
    return join(*(tag("p", notice, class_="notice") for notice in notices))


def _facts(run: RunRecord) -> list[tuple[str, Any]]:
    record, git = run.record, run.record.get("git") or {}
    steps = f"{run.step:,} of {run.num_steps:,}" if run.status != "finished" else f"{run.step:,}"
    resumed = int(number((run.result or {}).get("resumed"), 0))
    rate = run.steps_per_second * run.units_per_step
    devices = record.get("devices") or []
    commit = str(git.get("commit") or "unknown")[:10]
    known = [
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
        ("folder", record.get("folder")),
        ("started", str(record.get("started", "unknown")).replace("T", " ")[:19]),
        ("commit", commit + (" + local changes" if git.get("dirty") else "")),
    ]
    return [(name, value) for name, value in known if value not in (None, "")]
