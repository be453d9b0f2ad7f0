"""`fit`: trains an experiment from its first step, or from the last checkpoint, to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from deeplab import scale
from deeplab.core import ranges
from deeplab.core.backend import gpu_hint, huge_page_hint, same_bits_hint
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.runs import non_primary, record, session
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.identity import datasets
from deeplab.runs.identity.provenance import weights_record
from deeplab.runs.identity.purity import pure
from deeplab.runs.metadata import note_first_step, run_metadata
from deeplab.scale import processes
from deeplab.train.loop import Hook, NonFinite
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.run import Run
from deeplab.verbs.training.budget import Budget
from deeplab.verbs.training.ends import explained, finished, kept, stopped
from deeplab.verbs.training.surroundings import Surroundings, usual


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
    budget: str | float | None = None,
    wandb: str | None = None,
    hooks: Sequence[Hook] = (),
    surroundings: Surroundings | None = None,
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
      budget: Time after which the session evaluates, saves and ends, and the same call goes on: "90s", "10m", "1h30m",
        or a number of seconds; no limit when None.
      wandb: Project of Weights & Biases to which metrics are also sent.
      hooks: Additional hooks, from `dl.on_log`, `dl.on_dispatch` and `dl.on_state`.
      surroundings: Effects of a command line or a notebook; when None, a line of progress in a notebook.

    Raises:
      UserError: The run directory belongs to another run, the experiment does not fit the devices, or the budget is no
        time.
      Diverged: The loss or a gradient became NaN or infinite; the message names the layer.

    Example:
      >>> import functools
      >>> from experiments.image_digits import experiment
      >>> run = fit(functools.partial(experiment, width=8), smoke=True)
      >>> run.step, sorted(run.metrics["test"])
      (4, ['accuracy', 'loss'])
    """
    folder = None if data_dir is None else Path(data_dir)
    surroundings = surroundings or usual()
    limit = Budget(budget, surroundings.import_seconds or 0.0)
    recipe = Recipe.of(experiment, seed=seed, runtime=runtime, data_dir=folder, smoke=smoke)
    value = pure(recipe.build, **recipe.arguments)
    mesh = processes.global_mesh(recipe.runtime.mesh)
    scale.check_batch(value.data.batch_size, mesh, recipe.runtime.accumulate)
    options = {"log_every": log_every, "checkpoint_every": checkpoint_every}
    with contextlib.ExitStack() as stack:
        stack.callback(surroundings.closed)
        held = None
        if run_dir is not None:
            opened = functools.partial(
                _open, recipe, value, Path(os.path.expanduser(run_dir)), mesh, fresh=fresh, allow_change=allow_change
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
        advice = gpu_hint(), huge_page_hint(ready.program.temporary), same_bits_hint(jax.default_backend())
        for hint in filter(None, (*advice, *ready.remarks)):
            surroundings.say(f"hint: {hint}")
        start, rows = int(ready.state.step), []
        if held is None:
            write = kept(rows)
        else:
            held.restore(start)
            known = run_metadata(value, ready, surroundings.import_seconds)
            held.update(known)
            write = stack.enter_context(non_primary.sinks(held, wandb))
            hooks = [*hooks, note_first_step(held, known["startup"])]
        try:
            outcome = _train(ready, checkpoints, write, recipe, hooks, surroundings, limit, options)
        except NonFinite as failure:
            raise explained(held, recipe, value, failure) from None
        if outcome.last.step < value.num_steps and outcome.best_step is None:
            return stopped(recipe, ready, held, rows, outcome, surroundings, limit)
        return finished(recipe, ready, held, rows, outcome, surroundings)


def _open(recipe: Recipe, experiment: Experiment, directory: Path, mesh: Any, **options: bool) -> record.Run:
    """Creates the run directory, or checks that the existing one belongs to this run."""
    manifest = {
        "experiment": recipe.module,
        "function": getattr(recipe.function, "__name__", ""),
        "arguments": recipe.recorded,
        "seed": recipe.seed,
        "command": recipe.command("train", run_dir=directory),
        "folder": str(Path.cwd()),
        "mesh": ",".join(f"{axis}={size}" for axis, size in mesh.shape.items()),
        "processes": jax.process_count(),
        "task": type(experiment.task).__name__,
        "headline": list(experiment.task.headline),
        "num_steps": experiment.num_steps,
        "batch_size": experiment.data.batch_size,
        "monitor": dataclasses.asdict(experiment.monitor),
        "sources": recipe.sources,
        "weights": weights_record(experiment.weights),
    }
    return record.Run.open(directory, manifest, recipe.source, **options)


def _train(
    ready: session.Ready,
    checkpoints: Checkpoints | None,
    write: session.Write,
    recipe: Recipe,
    hooks: Sequence[Hook],
    surroundings: Surroundings,
    limit: Budget,
    options: dict[str, Any],
) -> session.Outcome:
    start, over = int(ready.state.step), session.is_over(ready)
    if start:
        surroundings.say("finished before; --fresh starts again" if over else f"resuming from step {start:,}")
    with surroundings.progress(ready.experiment, start) as shown:

        def written(step: int, split: str, metrics: dict[str, float]) -> None:
            write(step, split, metrics)
            if shown:
                shown.row(step, split, metrics)

        return session.train(
            ready,
            checkpoints,
            written,
            seed=recipe.seed,
            hooks=[*([shown.hook] if shown else []), *hooks],
            stop=lambda: surroundings.stop() or limit(),
            slow=surroundings.slow,
            **options,
        )
