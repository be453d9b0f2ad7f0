"""`train`: from a fresh directory, or from its last checkpoint, to a report."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from deeplab import report, scale
from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.progress import progress
from deeplab.core.backend import explain_out_of_memory, huge_page_hint
from deeplab.core.errors import Diverged
from deeplab.data.base import Data, Source
from deeplab.experiment import Experiment
from deeplab.runs import artifacts, metadata, non_primary, provenance, record, session
from deeplab.runs.checkpoint import Checkpoints
from deeplab.scale import processes
from deeplab.scale.processes.join import GroupOptions, joined
from deeplab.scale.processes.signals import Stop, stop_on_signal
from deeplab.scale.processes.watch import Watchdog
from deeplab.train.loop import Hook, NonFinite, Progress
from deeplab.train.nonfinite import find_origin

_OF_ONE_PROCESS = (
    *("run_dir", "data_dir", "json", "wandb", "coordinator", "process_id", "num_processes", "connect_timeout"),
    *("watchdog", "processes", "devices_per_process", "restarts"),
)
"""Flags that may differ between the processes of a run."""


@dataclasses.dataclass(frozen=True)
class TrainFlags(CommonFlags):
    """Flags of train.

    Args:
      fresh: Begin anew; what the run directory holds is moved aside, and kept.
      allow_change: Go on although the arguments or the source differ from those of the run directory.
      steps_per_dispatch: Steps in one dispatch, at most; chosen by the backend and the step when left out.
      log_every: Steps merged into one row of training metrics; a hundredth of the run when left out.
      checkpoint_every: Steps between checkpoints, besides those at each evaluation.
      keep: How many of the newest checkpoints are kept, besides the best.
      wandb: Log to Weights & Biases too, under this project.
      workers: Processes that read a set which does not fit the device; 0 is a thread, enough for arrays.
      coordinator: HOST:PORT of process 0 of several; by SLURM, Open MPI, Kubernetes or a TPU when left out.
      num_processes: How many processes there are; found like the coordinator.
      process_id: Which of them this is, from 0; found like the coordinator.
      connect_timeout: Seconds to wait for the other processes.
      watchdog: Seconds after which a loop that has not moved is stuck; 60 with several processes, else never.
      processes: Start so many processes on this machine, each with one of its GPUs, or with CPU devices of its own.
      devices_per_process: How many CPU devices each of them has.
      restarts: How often a process that died, or was ended for another one's sake, is started again.
    """

    fresh: bool = False
    allow_change: bool = False
    steps_per_dispatch: int | None = None
    log_every: int | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    wandb: str | None = None
    workers: int = 0
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    connect_timeout: float = 300.0
    watchdog: float | None = None
    processes: int | None = None
    devices_per_process: int | None = None
    restarts: int = 0


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Trains, evaluates and reports; on an existing run directory it goes on. Of several processes, this one's part.

    Returns:
      run_dir, metrics, seconds, steps, resumed_from, stopped (a signal's exit code, or None), report.
    """
    flags: TrainFlags = call.flags
    options = GroupOptions(**{field.name: getattr(flags, field.name) for field in dataclasses.fields(GroupOptions)})
    with joined(options, console) as watchdog, explain_out_of_memory():
        if jax.process_count() > 1:
            shared = {name: str(value) for name, value in vars(flags).items() if name not in _OF_ONE_PROCESS}
            processes.assert_same_across_processes(
                provenance.identity(call.function, call.module, call.arguments, shared)
            )
        return _run(call, console, watchdog)


def _run(call: Invocation, console: Console, watchdog: Watchdog) -> dict[str, Any]:
    flags: TrainFlags = call.flags
    experiment = call.experiment()
    mesh = processes.global_mesh(flags.mesh)
    runtime = call.runtime
    scale.check_batch(experiment.data.batch_size, mesh, runtime.accumulate)
    with (
        non_primary.shared(lambda: open_run(call, experiment, mesh)) as run,
        Checkpoints(run.directory / "checkpoints", keep=flags.keep, best=experiment.monitor) as checkpoints,
    ):
        console.print(f"{call.name}: {run.directory}", highlight=False, soft_wrap=True)
        ready = session.prepare(
            experiment,
            checkpoints,
            mesh,
            seed=flags.seed,
            open_source=functools.partial(open_source, data_dir=flags.data_dir),
            runtime=runtime,
        )
        if hint := huge_page_hint(ready.program.temporary):
            console.print(f"hint: {hint}", highlight=False)
        start = int(ready.state.step)
        run.restore(start)
        known = metadata.run_metadata(experiment, ready, call.import_seconds)
        run.update(known)
        with non_primary.sinks(run, flags.wandb) as write, stop_on_signal(watchdog) as stop:
            try:
                first = metadata.note_first_step(run, known["startup"])
                outcome = _train(ready, checkpoints, write, stop, watchdog, first, flags, console)
            except NonFinite as failure:
                raise _post_mortem(run, experiment, failure, call) from None
        with watchdog.slow("the report"):
            return _conclude(call, console, run, ready, stop, *outcome)


def _conclude(
    call: Invocation,
    console: Console,
    run: record.Run | non_primary.NonPrimaryRun,
    ready: session.Ready,
    stop: Stop,
    last: Progress,
    evaluation: dict[str, float],
    seconds: float,
) -> dict[str, Any]:
    """The report of a run that has come to its end, and the result of one that has or has not."""
    experiment, start, flags = ready.experiment, run.step, call.flags
    result = {"run_dir": run.directory, "steps": last.step, "seconds": seconds, "resumed_from": start or None}
    if last.step < experiment.num_steps:
        again = "give the same command again" if jax.process_count() > 1 else f"go on with:\n  {call.command('train')}"
        console.print(f"stopped at step {last.step:,}, saved; {again}", soft_wrap=True)
        return result | {"metrics": {}, "stopped": stop.exit_code, "report": None}
    assert last.state is not None
    evaluation |= artifacts.write(
        run.directory, experiment, last.state, ready.eval_feed, call.runtime, seed=flags.seed, data_dir=flags.data_dir
    )
    metrics = {experiment.data.eval_split: evaluation}
    run.finish({"step": last.step, "steps": last.step, "metrics": metrics, "seconds": seconds, "resumed": run.sessions})
    page = report.write(run.directory) if processes.is_primary() else None
    _say(console, evaluation, experiment, seconds, page)
    return result | {"metrics": metrics, "stopped": None, "report": page}


def open_source(data: Data, split: str, data_dir: Path | None = None) -> Source:
    """Opens a split; the one place where a verb touches the data's files."""
    return data.open(split, data_dir)


def run_directory(call: Invocation) -> Path:
    """The directory of an invocation's run: named by the arguments, the seed and the source unless it is given."""
    source = provenance.source_of(call.function)
    return call.flags.run_dir or record.default_directory("runs", call.name, call.recorded, source, call.flags.seed)


def open_run(call: Invocation, experiment: Experiment, mesh: jax.sharding.Mesh) -> record.Run:
    """The run directory of an invocation: made, or found to be the same run's."""
    flags = call.flags
    manifest = {
        "experiment": call.module,
        "arguments": call.recorded,
        "seed": flags.seed,
        "command": call.command("train", run_dir=flags.run_dir),
        "mesh": ",".join(f"{axis}={size}" for axis, size in mesh.shape.items()),
        "processes": jax.process_count(),
        "task": type(experiment.task).__name__,
        "num_steps": experiment.num_steps,
        "batch_size": experiment.data.batch_size,
        "monitor": dataclasses.asdict(experiment.monitor),
        "class_names": getattr(experiment.data, "class_names", None),
    }
    source = provenance.source_of(call.function)
    return record.Run.open(run_directory(call), manifest, source, fresh=flags.fresh, allow_change=flags.allow_change)


def _train(
    ready: session.Ready,
    checkpoints: Checkpoints,
    write: session.Write,
    stop: Stop,
    watchdog: Watchdog,
    first: Hook,
    flags: TrainFlags,
    console: Console,
) -> tuple[Progress, dict[str, float], float]:
    unit, units = metadata.throughput_unit(ready.experiment)
    start, end = int(ready.state.step), ready.experiment.num_steps
    if start:
        console.print(f"going on from step {start:,}" if start < end else "finished before; --fresh begins anew")
    with progress(console, start, end, units, unit) as bar:
        return session.train(
            ready,
            checkpoints,
            write,
            seed=flags.seed,
            log_every=flags.log_every,
            checkpoint_every=flags.checkpoint_every,
            hooks=[bar, first],
            stop=stop,
            slow=watchdog.slow,
        )


def _post_mortem(
    run: record.Run | non_primary.NonPrimaryRun, experiment: Experiment, failure: NonFinite, call: Invocation
) -> Diverged:
    """Saves the failed step's state and batch, replays it, and names what gave the first NaN.

    Each of several processes replays the whole step by itself, and comes to the same end.
    """
    step = int(failure.state.step) + 1
    origin = find_origin(experiment, processes.local(failure.state), failure.batch, call.runtime)
    cause = str(origin) if origin else "replayed by itself the step is finite: its numbers depend on the dispatch"
    folder = run.save_failure(step, failure.state, failure.batch, origin, cause)
    return Diverged(
        f"training step {step} is not finite ({_numbers(failure.metrics)}): {cause}.\n"
        f"The state before it, its batch and this finding are in {folder}; the last checkpoint is untouched. "
        f"Try a smaller --learning-rate, or look at the inputs of that batch."
    )


def _numbers(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _say(
    console: Console, evaluation: dict[str, float], experiment: Experiment, seconds: float, page: Path | None
) -> None:
    split = experiment.data.eval_split
    console.print(
        f"{split}: {_numbers(evaluation)}  ({experiment.num_steps:,} steps, {seconds:.1f} s)", highlight=False
    )
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    console.print(
        "  curves, final table, throughput, mistakes or samples, and the command that made it", highlight=False
    )
