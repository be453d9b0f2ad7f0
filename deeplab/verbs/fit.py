"""`fit`: trains an experiment from its first step, or from the last checkpoint, to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from deeplab import report, scale
from deeplab.core import ranges
from deeplab.core.backend import gpu_hint, huge_page_hint
from deeplab.core.errors import Diverged
from deeplab.core.runtime import Runtime
from deeplab.core.text import read_rows
from deeplab.experiment import Experiment
from deeplab.runs import artifacts, non_primary, record, session
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.identity import datasets
from deeplab.runs.identity.purity import pure
from deeplab.runs.metadata import note_first_step, run_metadata
from deeplab.scale import processes
from deeplab.train.loop import Hook, NonFinite, Progress
from deeplab.train.nonfinite import find_origin
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.run import Run

RunRecord = record.Run | non_primary.NonPrimaryRun


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """Effects around a training run that a command line or a notebook adds.

    Args:
      say: Function that prints a line of text.
      progress: Function from (experiment, first step) to a context that yields a hook which shows progress.
      stop: Predicate called between dispatches; when it returns True, the state is saved and training ends.
      exit_code: Function that returns, after a stop, the exit code of the signal that caused it.
      slow: Context entered around work that takes longer than a dispatch; it receives the name of that work.
      import_seconds: Time from the start of the process to the call, in seconds, for the report.
    """

    say: Callable[[str], None] = lambda text: None
    progress: Callable[[Experiment, int], contextlib.AbstractContextManager[Hook | None]] = lambda experiment, start: (
        contextlib.nullcontext()
    )
    stop: Callable[[], bool] = lambda: False
    exit_code: Callable[[], int | None] = lambda: None
    slow: Callable[[str], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    import_seconds: float | None = None


@ranges.checked(seed=ranges.SEED, log_every=ranges.COUNT, checkpoint_every=ranges.COUNT, keep=ranges.COUNT)
def fit(
    experiment: Any,
    *,
    run_dir: str | Path | None = None,
    seed: int | None = None,
    runtime: Runtime | None = None,
    data_dir: str | Path | None = None,
    smoke: bool | None = None,
    fresh: bool = False,
    allow_change: bool = False,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    keep: int = 2,
    wandb: str | None = None,
    hooks: Sequence[Hook] = (),
    surroundings: Surroundings = Surroundings(),
) -> Run:
    """Trains an experiment to its end; the same call on an existing run directory resumes the run.

    Args:
      experiment: Function of hyper-parameters, a `functools.partial` of it, or a `dl.Experiment`.
      run_dir: Directory of the run: its record, checkpoints and report. Nothing is written when None.
      seed: Seeds parameter initialization and data order.
      runtime: Mesh, precision and accumulation.
      data_dir: Folder with the original files of the data set; they are downloaded when None.
      smoke: Whether to train for a few steps on synthetic data of the right shape.
      fresh: Whether to start again from step 0; the old contents of the run directory are moved aside and kept.
      allow_change: Whether to resume although arguments or source differ from those of the run directory.
      log_every: Number of steps merged into one row of training metrics; a hundredth of the run when None.
      checkpoint_every: Number of steps between checkpoints, besides those at each evaluation.
      keep: Number of the newest checkpoints that are kept, besides the best.
      wandb: Project of Weights & Biases to which metrics are also sent.
      hooks: Additional hooks, from `dl.on_log`, `dl.on_dispatch` and `dl.on_state`.
      surroundings: Effects of a command line or a notebook.

    Raises:
      UserError: The run directory belongs to another run, or the experiment does not fit the devices.
      Diverged: The loss or a gradient became NaN or infinite; the message names the layer.

    Example:
      >>> import functools
      >>> from experiments.image_digits import experiment
      >>> run = fit(functools.partial(experiment, width=8), smoke=True)
      >>> run.step, sorted(run.metrics["test"])
      (4, ['accuracy', 'loss'])
    """
    folder = None if data_dir is None else Path(data_dir)
    recipe = Recipe.of(experiment, seed=seed, runtime=runtime, data_dir=folder, smoke=smoke)
    value = pure(recipe.build, **recipe.arguments)
    mesh = processes.global_mesh(recipe.runtime.mesh)
    scale.check_batch(value.data.batch_size, mesh, recipe.runtime.accumulate)
    options = {"log_every": log_every, "checkpoint_every": checkpoint_every}
    with contextlib.ExitStack() as stack:
        held = None
        if run_dir is not None:
            opened = functools.partial(
                _open, recipe, value, Path(run_dir), mesh, fresh=fresh, allow_change=allow_change
            )
            held = stack.enter_context(non_primary.shared(opened))
            surroundings.say(f"{recipe.name}: {held.directory}")
        saved = held and Checkpoints(held.directory / "checkpoints", keep=keep, best=value.monitor)
        checkpoints = stack.enter_context(saved) if saved else None
        ready = session.prepare(
            value,
            checkpoints,
            mesh,
            seed=recipe.seed,
            open_source=lambda data, split: data.open(split, recipe.data_dir),
            check=lambda sources: (
                datasets.check_training(held, value.data, sources, recipe.data_dir, allow_change=allow_change)
                if held
                else None
            ),
            runtime=recipe.runtime,
        )
        for hint in filter(None, (gpu_hint(), huge_page_hint(ready.program.temporary), *ready.remarks)):
            surroundings.say(f"hint: {hint}")
        start, rows = int(ready.state.step), []
        if held is None:
            write = _kept(rows)
        else:
            held.restore(start)
            known = run_metadata(value, ready, surroundings.import_seconds)
            held.update(known)
            write = stack.enter_context(non_primary.sinks(held, wandb))
            hooks = [*hooks, note_first_step(held, known["startup"])]
        try:
            outcome = _train(ready, checkpoints, write, recipe, hooks, surroundings, options)
        except NonFinite as failure:
            raise _explained(held, recipe, value, failure) from None
        return _finished(recipe, ready, held, rows, outcome, surroundings)


def _open(recipe: Recipe, experiment: Experiment, directory: Path, mesh: Any, **options: bool) -> record.Run:
    """Creates the run directory, or checks that the existing one belongs to this run."""
    manifest = {
        "experiment": recipe.module,
        "function": getattr(recipe.function, "__name__", ""),
        "arguments": recipe.recorded,
        "seed": recipe.seed,
        "command": recipe.command("train", run_dir=directory),
        "mesh": ",".join(f"{axis}={size}" for axis, size in mesh.shape.items()),
        "processes": jax.process_count(),
        "task": type(experiment.task).__name__,
        "headline": list(experiment.task.headline),
        "num_steps": experiment.num_steps,
        "batch_size": experiment.data.batch_size,
        "monitor": dataclasses.asdict(experiment.monitor),
    }
    return record.Run.open(directory, manifest, recipe.source, **options)


def _kept(rows: list[dict[str, Any]]) -> session.Write:
    return lambda step, split, metrics: rows.append({"step": step, "split": split, **metrics})


def _train(
    ready: session.Ready,
    checkpoints: Checkpoints | None,
    write: session.Write,
    recipe: Recipe,
    hooks: Sequence[Hook],
    surroundings: Surroundings,
    options: dict[str, Any],
) -> tuple[Progress, dict[str, float], float]:
    start, end = int(ready.state.step), ready.experiment.num_steps
    if start:
        surroundings.say(f"resuming from step {start:,}" if start < end else "finished before; --fresh starts again")
    with surroundings.progress(ready.experiment, start) as shown:
        return session.train(
            ready,
            checkpoints,
            write,
            seed=recipe.seed,
            hooks=[hook for hook in (shown, *hooks) if hook is not None],
            stop=surroundings.stop,
            slow=surroundings.slow,
            **options,
        )


def _finished(
    recipe: Recipe,
    ready: session.Ready,
    held: RunRecord | None,
    rows: list[dict[str, Any]],
    outcome: tuple[Progress, dict[str, float], float],
    surroundings: Surroundings,
) -> Run:
    """Builds the `Run`; if training reached its end, also writes the result, the artifacts and the report."""
    (last, evaluation, seconds), experiment = outcome, ready.experiment
    assert last.state is not None
    run = Run(recipe, experiment, last.state, held and held.directory, seconds=seconds, rows=tuple(rows))
    run = dataclasses.replace(run, resumed_from=(held.step or None) if held else None)
    if last.step < experiment.num_steps:
        return dataclasses.replace(run, stopped=surroundings.exit_code(), rows=_rows(held, rows))
    with surroundings.slow("the report"):
        made = artifacts.predictions(experiment, last.state, ready.eval_feed, recipe.runtime)
        evaluation = evaluation | experiment.task.summarize(made)
        metrics, page = {experiment.data.eval_split: evaluation}, None
        if held is not None:
            result = {"step": last.step, "steps": last.step, "metrics": metrics, "seconds": seconds}
            held.finish(result | {"resumed": held.sessions})
            artifacts.write(
                held.directory,
                experiment,
                last.state,
                ready.eval_feed,
                made,
                recipe.runtime,
                seed=recipe.seed,
                data_dir=recipe.data_dir,
            )
            page = report.write(held.directory) if processes.is_primary() else None
    return dataclasses.replace(run, metrics=metrics, report=page, rows=_rows(held, rows))


def _rows(held: RunRecord | None, rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(read_rows(held.directory / "metrics.jsonl")[0]) if held is not None else tuple(rows)


def _explained(held: RunRecord | None, recipe: Recipe, experiment: Experiment, failure: NonFinite) -> Diverged:
    """Saves the state and batch of the failed step, replays it, and names the operation that gave the first NaN.

    With several processes, each replays the whole step by itself and reaches the same result.
    """
    step = int(failure.state.step) + 1
    origin = find_origin(experiment, processes.local(failure.state), failure.batch, recipe.runtime)
    cause = str(origin) if origin else "replayed alone, the step is finite: its values depend on the dispatch"
    values = ", ".join(f"{name} {value:.4g}" for name, value in failure.metrics.items())
    kept = ""
    if held is not None:
        folder = held.save_failure(step, failure.state, failure.batch, origin, cause)
        kept = f"The state before it, its batch and this message are in {folder}; the last checkpoint is unchanged. "
    return Diverged(
        f"training step {step} is not finite ({values}): {cause}.\n{kept}"
        "Try a smaller --learning-rate, or look at the inputs of that batch."
    )
