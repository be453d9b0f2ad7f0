"""What is known of a run once it is compiled, for its record."""

from __future__ import annotations

import time
from typing import Any

import jax

from deeplab.cli.arguments import Invocation
from deeplab.experiment import Experiment
from deeplab.runs import follower, record, session
from deeplab.train.loop import Hook, Progress, on_dispatch


def of(experiment: Experiment, ready: session.Ready, call: Invocation) -> dict[str, Any]:
    """What the report says of it: its size, its dispatches, what a step counts, and what came before the first."""
    name, units = unit(experiment)
    seconds = {"import": call.import_seconds, "data": ready.data_seconds, "compile": ready.compile_seconds}
    return {
        "num_params": sum(x.size for x in jax.tree.leaves(ready.state.params)),
        "steps_per_dispatch": ready.program.max_steps,
        "startup": {part: round(value, 2) for part, value in seconds.items() if value is not None},
        "resident": ready.feed.resident is not None,
        "unit": name,
        "units_per_step": units,
    }


def unit(experiment: Experiment) -> tuple[str, int]:
    """What throughput counts, and how many of them a step takes."""
    spec = experiment.data.spec()
    if "tokens" in spec:
        return "tokens", spec["tokens"].size
    return ("images" if "image" in spec else "examples"), experiment.data.batch_size


def first_step(run: record.Run | follower.Follower, startup: dict[str, float]) -> Hook:
    """A hook that notes, once, how long the first step took: the last part of the time that one waits for it."""
    began, seen = time.monotonic(), []

    def note(_: Progress) -> None:
        if not seen:
            seen.append(time.monotonic() - began)
            run.update({"startup": startup | {"first step": round(seen[0], 2)}})

    return on_dispatch(note)
