"""Where the time of a run went: before the first step, in waiting for input, and layer by layer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from deeplab.report.record import Run, number
from deeplab.report.text import Html, duration, join, table, tag

_INPUT_BOUND = 0.1  # of the time; below it, waiting is jitter


def sections(run: Run) -> Html:
    """What is known of it; nothing where nothing is."""
    parts = [_bound(run), _startup(run), _profile(run)]
    if not any(parts):
        return Html("")
    return join(tag("h2", "Where the time goes"), *parts)


def _bound(run: Run) -> Html:
    if not math.isfinite(run.stalled):
        return Html("")
    kind = "Input-bound" if run.stalled >= _INPUT_BOUND else "Compute-bound"
    advice = ""
    if run.stalled >= _INPUT_BOUND:
        advice = " Smaller examples, or more processes that read them (--workers), would make it faster."
    return tag("p", f"{kind}: the device waited for input {100 * run.stalled:.1f} % of the training time.{advice}")


def _startup(run: Run) -> Html:
    startup = run.record.get("startup")
    if not isinstance(startup, Mapping) or not startup:
        return Html("")
    spent = {str(name): number(seconds, 0.0) for name, seconds in startup.items()}
    parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in spent.items())
    return tag("p", f"Time to the first step: {duration(sum(spent.values()))} ({parts}).")


def _profile(run: Run) -> Html:
    """The table of the verb `profile`, where it was run on this directory."""
    try:
        found = json.loads(run.text("profile/profile.json") or "null")
        rows = [_row(cost, float(found["milliseconds"])) for cost in found["costliest"]]
        split = ", ".join(f"{name} {number(ms):.2f}" for name, ms in found["split"].items())
        title = f"{found['milliseconds']:.2f} ms a step: {split}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Html("")
    head = ["layer", "operation", "forward, ms", "backward, ms", "of the step"]
    return join(
        tag("h3", "The costliest operations"), tag("p", title, class_="muted"), table(head, rows, class_="numbers")
    )


def _row(cost: Mapping[str, Any], milliseconds: float) -> list[str]:
    forward, backward = float(cost["forward"]), float(cost["backward"])
    share = f"{100 * (forward + backward) / milliseconds:.1f} %"
    return [str(cost["layer"]), str(cost["operation"]), f"{forward:.2f}", f"{backward:.2f}", share]
