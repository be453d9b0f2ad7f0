"""The time of a run: before the first step, in waiting for input, and layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from deeplab.core.text import loads
from deeplab.report.record import RunRecord
from deeplab.report.text import Html, duration, join, note, number, table, tag

_INPUT_BOUND = 0.1  # share of the time spent waiting; less is jitter


def sections(run: RunRecord) -> Html:
    """The known parts; empty where nothing is known."""
    parts = [_bound(run), _startup(run), _profile(run)]
    if not any(parts):
        return Html("")
    return join(tag("h2", "Time"), *parts)


def _bound(run: RunRecord) -> Html:
    if not math.isfinite(run.stalled):
        return Html("")
    kind = "Input-bound" if run.stalled >= _INPUT_BOUND else "Compute-bound"
    advice = ""
    if run.stalled >= _INPUT_BOUND:
        advice = " Use smaller examples, or more reading processes (--workers)."
    return tag("p", f"{kind}: the device waited for input {100 * run.stalled:.1f} % of the training time.{advice}")


def _startup(run: RunRecord) -> Html:
    startup = run.record.get("startup")
    if not isinstance(startup, Mapping) or not startup:
        return Html("")
    spent = {str(name): number(seconds, 0.0) for name, seconds in startup.items()}
    parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in spent.items())
    return tag("p", f"Time to the first step: {duration(sum(spent.values()))} ({parts}).")


def _profile(run: RunRecord) -> Html:
    """The table of the verb `profile`; empty where it was not run on this directory."""
    try:
        found = loads(run.text("profile/profile.json") or "null")
        rows = [_row(cost, float(found["milliseconds"])) for cost in found["costliest"]]
        split = ", ".join(f"{name} {number(ms):.2f}" for name, ms in found["split"].items())
        title = f"{found['milliseconds']:.2f} ms a step: {split}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Html("")
    head = ["layer", "operation", "forward, ms", "backward, ms", "share of the step"]
    return join(tag("h3", "Most expensive operations"), note(title), table(head, rows, class_="numbers"))


def _row(cost: Mapping[str, Any], milliseconds: float) -> list[str]:
    forward, backward = float(cost["forward"]), float(cost["backward"])
    share = f"{100 * (forward + backward) / milliseconds:.1f} %"
    return [str(cost["layer"]), str(cost["operation"]), f"{forward:.2f}", f"{backward:.2f}", share]
