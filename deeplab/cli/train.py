"""`train`: trains an experiment from its first step, or from the last checkpoint, and writes a report."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from rich.console import Console

from deeplab.cli.arguments import Invocation
from deeplab.cli.group import ProcessFlags, joined_group, surroundings
from deeplab.verbs.fit import fit
from deeplab.verbs.run import Run


@dataclasses.dataclass(frozen=True)
class TrainFlags(ProcessFlags):
    """Flags of train.

    Args:
      fresh: Start again from step 0; the old contents of the run directory are moved aside and kept.
      allow_change: Resume although the arguments or the source differ from those of the run directory.
      steps_per_dispatch: Largest number of steps in one dispatch; chosen by backend and step when left out.
      log_every: Number of steps merged into one row of training metrics; a hundredth of the run when left out.
      checkpoint_every: Number of steps between checkpoints, besides those at each evaluation.
      keep: Number of the newest checkpoints that are kept, besides the best.
      budget: Time, such as 90s, 10m or 1h30m, after which training is evaluated, saved and ended; the same command
        goes on.
      wandb: Project of Weights & Biases to which metrics are also sent.
      workers: Number of processes that read a data set larger than device memory; 0 is a thread.
    """

    fresh: bool = False
    allow_change: bool = False
    steps_per_dispatch: int | None = None
    log_every: int | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    budget: str | None = None
    wandb: str | None = None
    workers: int = 0


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Trains, evaluates and writes the report; an existing run directory is resumed.

    Returns:
      run_dir, metrics, seconds, steps, resumed_from, stopped (a signal's exit code, 0 of a budget, or None), best_step
      (where the patience ended the run, or None), report.
    """
    with joined_group(call, console) as watchdog, surroundings(call, watchdog, console) as around:
        given = ("fresh", "allow_change", "log_every", "checkpoint_every", "keep", "budget", "wandb")
        finished = fit(
            call.recipe,
            run_dir=call.directory,
            surroundings=around,
            **{name: getattr(call.flags, name) for name in given},
        )
        _say(call, finished, console)
    names = ("metrics", "seconds", "resumed_from", "stopped", "best_step", "report")
    return {"run_dir": finished.directory, "steps": finished.step, **{n: getattr(finished, n) for n in names}}


def _say(call: Invocation, run: Run, console: Console) -> None:
    if run.stopped is not None:
        again = "run the same command again" if jax.process_count() > 1 else f"resume with:\n{call.command('train')}"
        why = "" if run.stopped else f"the budget of {call.flags.budget} is used up: "
        where = f"{run.step:,} of {run.experiment.num_steps:,}"
        console.print(f"{why}stopped and saved at step {where}; {again}", soft_wrap=True)
    if run.told_early:
        console.print(run.told_early, highlight=False)
    for split, values in run.metrics.items():
        told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        console.print(f"{split}: {told}  ({run.step:,} steps, {run.seconds:.1f} s)", highlight=False)
    if run.stopped is not None:
        return
    console.print(f"report: {run.report}", highlight=False, soft_wrap=True)
    console.print(
        "  curves, final table, throughput, mistakes or samples, and the command that made it", highlight=False
    )
