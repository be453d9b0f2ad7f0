"""How a training session ends: at the end of the run, before it, or at a step that is not finite."""

from __future__ import annotations

import dataclasses
from typing import Any

from deeplab import report
from deeplab.core.errors import Diverged
from deeplab.core.text import read_rows
from deeplab.experiment import Experiment
from deeplab.runs import artifacts, evaluations, session
from deeplab.runs.effects import Write
from deeplab.runs.non_primary import NonPrimaryRun
from deeplab.runs.record import Run as RunRecord
from deeplab.scale import processes
from deeplab.train.loop import NonFinite
from deeplab.train.nonfinite import find_origin
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.run import Run
from deeplab.verbs.training.budget import Budget
from deeplab.verbs.training.surroundings import Surroundings

Held = RunRecord | NonPrimaryRun | None
_SIGNALS = {130: "Ctrl-C", 143: "SIGTERM"}


def kept(rows: list[dict[str, Any]]) -> Write:
    """A writer that keeps rows of metrics in a list."""
    return lambda step, split, metrics: rows.append({"step": step, "split": split, **metrics})


def finished(
    recipe: Recipe,
    ready: session.Ready,
    held: Held,
    rows: list[dict[str, Any]],
    outcome: session.Outcome,
    surroundings: Surroundings,
) -> Run:
    """The run at its end; also writes the result, the artifacts and the report."""
    last, experiment = outcome.last, ready.experiment
    assert last.state is not None
    with surroundings.slow("the report"):
        made = artifacts.predictions(experiment, last.state, ready.eval_feed, recipe.runtime)
        metrics = {experiment.data.eval_split: outcome.evaluation | experiment.task.summarize(made)}
        page = None
        if held is not None:
            result = {"step": last.step, "steps": last.step, "metrics": metrics, "seconds": outcome.seconds}
            early = {} if outcome.best_step is None else {"stopped_early": {"best_step": outcome.best_step}}
            held.finish(result | {"resumed": held.sessions} | early)
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
    run = _run(recipe, ready, held, rows, outcome)
    return dataclasses.replace(run, metrics=metrics, report=page, best_step=outcome.best_step)


def stopped(
    recipe: Recipe,
    ready: session.Ready,
    held: Held,
    rows: list[dict[str, Any]],
    outcome: session.Outcome,
    surroundings: Surroundings,
    limit: Budget,
) -> Run:
    """The run before its end; where the budget of time is used up, its last state is evaluated.

    That evaluation is no row of `metrics.jsonl`, which hold what an undisturbed run writes.
    """
    code, metrics = surroundings.exit_code(), {}
    why = _SIGNALS.get(code or 0, "on request")
    if limit.used and outcome.last.state is not None:
        split, code, why = ready.experiment.data.eval_split, 0, f"the budget of {limit.text} is used up"
        with surroundings.slow("an evaluation"):
            metrics = {split: outcome.evaluation or ready.evaluate(outcome.last.state)}
        if isinstance(held, RunRecord):
            content = held.manifest["data"]["splits"][split]
            evaluations.add(held.directory, outcome.last.step, split, metrics[split], content)
    if held is not None:
        held.end("stopped", why, outcome.last.step)
    return dataclasses.replace(_run(recipe, ready, held, rows, outcome), stopped=code, metrics=metrics)


def _run(recipe: Recipe, ready: session.Ready, held: Held, rows: list[dict[str, Any]], outcome: session.Outcome) -> Run:
    assert outcome.last.state is not None
    return Run(
        recipe,
        ready.experiment,
        outcome.last.state,
        held and held.directory,
        seconds=outcome.seconds,
        resumed_from=(held.step or None) if held else None,
        rows=tuple(rows if held is None else read_rows(held.directory / "metrics.jsonl")[0]),
    )


def explained(held: Held, recipe: Recipe, experiment: Experiment, failure: NonFinite) -> Diverged:
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
