"""Metadata of a compiled run, for `run.json` and the report."""

from __future__ import annotations

import time
from typing import Any

import jax

from deeplab.experiment import Experiment
from deeplab.runs import record, session
from deeplab.runs.non_primary import NonPrimaryRun
from deeplab.train.loop import Hook, Progress, on_dispatch


def run_metadata(experiment: Experiment, ready: session.Ready, import_seconds: float | None = None) -> dict[str, Any]:
    """Model size, dispatch length, unit of throughput and startup times of a run.

    Args:
      experiment: What is trained.
      ready: The prepared run, from `session.prepare`.
      import_seconds: Time from the start of the process to the command; None where it is unknown, as in a notebook.

    Returns:
      JSON values: `num_params`, `steps_per_dispatch`, `startup` (seconds by phase), `resident` (whether the training
      split is in device memory), `unit` and `units_per_step`.
    """
    name, units = throughput_unit(experiment)
    seconds = {"import": import_seconds, "data": ready.data_seconds, "compile": ready.compile_seconds}
    return {
        "num_params": sum(x.size for x in jax.tree.leaves(ready.state.params)),
        "steps_per_dispatch": ready.program.max_steps,
        "startup": {phase: round(value, 2) for phase, value in seconds.items() if value is not None},
        "resident": ready.feed.resident is not None,
        "unit": name,
        "units_per_step": units,
    }


def throughput_unit(experiment: Experiment) -> tuple[str, int]:
    """The unit that throughput counts ("tokens", "images" or "examples"), and their number in one step."""
    spec = experiment.data.spec()
    if "tokens" in spec:
        return "tokens", spec["tokens"].size
    return ("images" if "image" in spec else "examples"), experiment.data.batch_size


def note_first_step(run: record.Run | NonPrimaryRun, startup: dict[str, float]) -> Hook:
    """A hook that records, once, the seconds until the first dispatch ends, as `startup["first step"]`.

    Args:
      run: The run whose `run.json` is updated.
      startup: Seconds of the earlier phases, from `run_metadata`.
    """
    began, seen = time.monotonic(), []

    def note(_: Progress) -> None:
        if not seen:
            seen.append(time.monotonic() - began)
            run.update({"startup": startup | {"first step": round(seen[0], 2)}})

    return on_dispatch(note)
