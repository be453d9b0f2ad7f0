"""`profile`: where the time of a training step goes, by layer."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deeplab import scale
from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.train import open_source, run_directory
from deeplab.core.errors import UserError
from deeplab.experiment import Experiment
from deeplab.runs import lock, trace
from deeplab.train.feed import Feed, make_feed
from deeplab.train.initialize import init
from deeplab.train.program import Program, compile_program
from deeplab.train.state import State

_WARM = 3  # steps before the trace: the first ones allocate


@dataclasses.dataclass(frozen=True)
class ProfileFlags(CommonFlags):
    """Flags of profile.

    Args:
      trace_steps: Steps in the trace, after a few that are not.
      top: Rows of the table.
    """

    trace_steps: int = 5
    top: int = 10


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Traces a few steps from the initial weights; nothing of a run in this directory is changed.

    Writes `profile/` into the run directory: `profile.json`, which the report shows, and the trace, for TensorBoard
    (`tensorboard --logdir`, with its profile plugin) and for https://ui.perfetto.dev.

    Returns:
      run_dir, milliseconds (a step), split (forward, backward, optimizer, other), costliest, trace.
    """
    flags: ProfileFlags = call.flags
    if flags.trace_steps < 1:
        raise UserError(f"--trace-steps {flags.trace_steps} shows nothing; give 1 or more")
    experiment, directory = call.experiment(), run_directory(call).absolute()
    held = lock.hold(directory)  # a run that trains meanwhile would show up in the trace
    try:
        folder = directory / "profile"
        program, milliseconds = _record(call, experiment, folder)
        found = trace.costs(
            trace.instruction_seconds(folder, program), program, type(experiment.model).__name__, flags.trace_steps
        )
        result = {
            "run_dir": directory,
            "steps": flags.trace_steps,
            "milliseconds": milliseconds,
            "split": trace.totals(found),
            "costliest": [cost._asdict() for cost in found[: flags.top]],
            "trace": folder,
        }
        (folder / "profile.json").write_text(json.dumps(result, default=str, indent=1) + "\n")
    finally:
        os.close(held)
    _print(console, result, found)
    return result


def _record(call: Invocation, experiment: Experiment, folder: Path) -> tuple[dict[str, str], float]:
    """Takes the steps; gives the names of the program's instructions, and the median milliseconds of a step."""
    mesh, seed = scale.make_mesh(call.flags.mesh), call.flags.seed
    runtime = dataclasses.replace(call.runtime, steps_per_dispatch=1)
    feed = make_feed(experiment.data, open_source(experiment.data, "train", call.flags.data_dir), mesh)
    shapes = jax.eval_shape(lambda key: init(experiment, key, runtime), jax.random.key(seed))
    shardings = scale.state_shardings(shapes, experiment.sharding_rules, mesh, offload=runtime.offload)
    state = jax.jit(lambda key: init(experiment, key, runtime), out_shardings=shardings)(jax.random.key(seed))
    program = compile_program(experiment, state, feed, seed, runtime)
    with feed.reader(0, seed, _WARM + call.flags.trace_steps) as reader:
        state, _ = _take(program, feed, reader.read, state, range(_WARM))
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # the interpreter's own calls slow it down, and hide the program's
        with jax.profiler.trace(str(folder), create_perfetto_trace=True, profiler_options=options):
            _, seconds = _take(program, feed, reader.read, state, range(_WARM, _WARM + call.flags.trace_steps))
    return trace.op_names(program.text()), 1e3 * statistics.median(seconds)


def _take(
    program: Program, feed: Feed, read: Callable[[int, int], Any], state: State, steps: range
) -> tuple[State, list[float]]:
    """The state after these steps, and the seconds of each, waited for."""
    seconds = []
    for step in steps:
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            item = read(step, 1)
            began = time.perf_counter()
            state, _ = program(state, item, step, 1)
            jax.block_until_ready(state)
            seconds.append(time.perf_counter() - began)
    return state, seconds


def _print(console: Console, result: dict[str, Any], found: list[trace.Cost]) -> None:
    total = sum(cost.total for cost in found)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("layer", "operation", "forward ms", "backward ms", "share"):
        table.add_column(column, justify="left" if column in ("layer", "operation") else "right")
    for row in result["costliest"]:
        cost = trace.Cost(**row)
        numbers = f"{cost.forward:.2f}", f"{cost.backward:.2f}", f"{100 * cost.total / total:.1f} %"
        table.add_row(Text(cost.layer), Text(cost.operation), *numbers)
    console.print(table)
    split = ", ".join(f"{name} {ms:.2f}" for name, ms in result["split"].items())
    console.print(f"{result['milliseconds']:.2f} ms a step; its operations {total:.2f} ms: {split}", highlight=False)
    console.print(
        f"trace (TensorBoard, or https://ui.perfetto.dev): {result['trace']}", highlight=False, soft_wrap=True
    )
