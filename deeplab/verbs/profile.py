"""`profile`: time of a training step by layer."""

from __future__ import annotations

import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from deeplab import scale
from deeplab.core import ranges
from deeplab.core.printable import Printable
from deeplab.core.runtime import Runtime
from deeplab.core.text import dumps
from deeplab.runs import lock, trace
from deeplab.train.contracts.checked import checked
from deeplab.train.feed import Feed, make_feed
from deeplab.train.initialize import init
from deeplab.train.program import Program, compile_program
from deeplab.train.state import State
from deeplab.verbs.recipe import Recipe

_WARM = 3  # warm-up steps before the trace, because the first ones allocate

# On an NVIDIA GPU XLA launches instructions in groups, as CUDA graphs, and a trace has only the groups' names.
NO_GRAPHS = {"xla_gpu_enable_command_buffer": ""}


@dataclasses.dataclass(frozen=True)
class Profile(Printable):
    """Time of a training step by layer.

    Attributes:
      steps: Steps in the trace.
      milliseconds: Median time of a step, in milliseconds.
      split: Time of forward pass, backward pass, optimizer and other operations, in milliseconds.
      costs: Operations by layer, the costliest first.
      trace: Folder of the trace, for TensorBoard (`tensorboard --logdir`) and https://ui.perfetto.dev.
      top: Number of rows that are shown.
    """

    steps: int
    milliseconds: float
    split: Mapping[str, float]
    costs: Sequence[trace.Cost]
    trace: Path
    top: int = 10

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        total = sum(cost.total for cost in self.costs)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("layer", "operation", "forward ms", "backward ms", "share"):
            table.add_column(column, justify="left" if column in ("layer", "operation") else "right")
        for cost in self.costs[: self.top]:
            numbers = f"{cost.forward:.2f}", f"{cost.backward:.2f}", f"{100 * cost.total / total:.1f} %"
            table.add_row(Text(cost.layer), Text(cost.operation), *numbers)
        split = ", ".join(f"{name} {ms:.2f}" for name, ms in self.split.items())
        summary = f"{self.milliseconds:.2f} ms a step; its operations {total:.2f} ms: {split}"
        return Group(table, summary, f"trace (TensorBoard, or https://ui.perfetto.dev): {self.trace}")


@ranges.checked(trace_steps=ranges.COUNT, top=ranges.COUNT)
def profile(
    experiment: Any,
    *,
    run_dir: str | Path | None = None,
    trace_steps: int = 5,
    top: int = 10,
    runtime: Runtime | None = None,
    data_dir: str | Path | None = None,
) -> Profile:
    """Traces a few steps from the initial weights; an existing run in the directory is not changed.

    Writes `profile/` into the run directory: `profile.json`, which the report shows, and the trace.

    Args:
      experiment: Function of hyper-parameters, a `functools.partial` of it, or a `dl.Experiment`.
      run_dir: Run directory; a temporary folder when None.
      trace_steps: Number of steps in the trace, after a few warm-up steps.
      top: Number of rows of the table.
      runtime: Mesh, precision and accumulation.
      data_dir: Folder with the original files of the data set.

    Raises:
      UserError: `trace_steps` is below 1, or the run directory is in use, which would disturb the trace.

    Example:
      >>> import functools
      >>> from experiments.image_digits import experiment
      >>> found = profile(functools.partial(experiment, width=4), trace_steps=1)
      >>> found.steps
      1
    """
    recipe = Recipe.of(experiment, runtime=runtime, data_dir=None if data_dir is None else Path(data_dir))
    directory = Path(os.path.expanduser(run_dir) if run_dir else tempfile.mkdtemp(prefix="deeplab-profile-")).absolute()
    held = lock.hold(directory)
    try:
        folder = directory / "profile"
        program, milliseconds = _record(recipe, folder, trace_steps)
        model = type(recipe.experiment().model).__name__
        found = trace.costs(trace.instruction_seconds(folder, program), program, model, trace_steps)
        made = Profile(trace_steps, milliseconds, trace.totals(found), found, folder, top)
        (folder / "profile.json").write_text(dumps(as_json(made), str, indent=1) + "\n", encoding="utf-8")
    finally:
        os.close(held)
    return made


def as_json(profile: Profile) -> dict[str, Any]:
    """A profile as plain values, with its costliest operations."""
    return {
        "steps": profile.steps,
        "milliseconds": profile.milliseconds,
        "split": dict(profile.split),
        "costliest": [cost._asdict() for cost in profile.costs[: profile.top]],
        "trace": profile.trace,
    }


def _record(recipe: Recipe, folder: Path, trace_steps: int) -> tuple[dict[str, str], float]:
    """Takes the steps; returns the names of the program's instructions, and the median milliseconds of a step."""
    experiment, seed = recipe.experiment(), recipe.seed
    mesh = scale.make_mesh(recipe.runtime.mesh)
    runtime = dataclasses.replace(recipe.runtime, steps_per_dispatch=1)
    feed = make_feed(experiment.data, experiment.data.open("train", recipe.data_dir), mesh)
    shapes = checked(experiment, runtime).state
    shardings = scale.state_shardings(shapes, experiment.sharding_rules, mesh, offload=runtime.offload)
    state = jax.jit(lambda key: init(experiment, key, runtime), out_shardings=shardings)(jax.random.key(seed))
    graphs = NO_GRAPHS if jax.default_backend() == "gpu" else None
    program = compile_program(experiment, state, feed, seed, runtime, options=graphs)
    with feed.reader(0, seed, _WARM + trace_steps) as reader:
        state, _ = _take(program, feed, reader.read, state, range(_WARM))
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # Python calls would slow the steps down and crowd the trace
        with jax.profiler.trace(str(folder), create_perfetto_trace=True, profiler_options=options):
            _, seconds = _take(program, feed, reader.read, state, range(_WARM, _WARM + trace_steps))
    return trace.op_names(program.text()), 1e3 * statistics.median(seconds)


def _take(
    program: Program, feed: Feed, read: Callable[[int, int], Any], state: State, steps: range
) -> tuple[State, list[float]]:
    """Takes steps and waits for each; returns the state and the seconds of each step."""
    seconds = []
    for step in steps:
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            item = read(step, 1)
            began = time.perf_counter()
            state, _ = program(state, item, step, 1)
            jax.block_until_ready(state)
            seconds.append(time.perf_counter() - began)
    return state, seconds
