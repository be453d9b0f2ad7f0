"""`train`: from a fresh directory, or from its last checkpoint, to a report."""

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
      fresh: Begin anew; what the run directory holds is moved aside, and kept.
      allow_change: Go on although the arguments or the source differ from those of the run directory.
      steps_per_dispatch: Steps in one dispatch, at most; chosen by the backend and the step when left out.
      log_every: Steps merged into one row of training metrics; a hundredth of the run when left out.
      checkpoint_every: Steps between checkpoints, besides those at each evaluation.
      keep: How many of the newest checkpoints are kept, besides the best.
      wandb: Log to Weights & Biases too, under this project.
      workers: Processes that read a set which does not fit the device; 0 is a thread, enough for arrays.
    """

    fresh: bool = False
    allow_change: bool = False
    steps_per_dispatch: int | None = None
    log_every: int | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    wandb: str | None = None
    workers: int = 0


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Trains, evaluates and reports; on an existing run directory it goes on. Of several processes, this one's part.

    Returns:
      run_dir, metrics, seconds, steps, resumed_from, stopped (a signal's exit code, or None), report.
    """
    with joined_group(call, console) as watchdog, surroundings(call, watchdog, console) as around:
        given = ("fresh", "allow_change", "log_every", "checkpoint_every", "keep", "wandb")
        finished = fit(
            call.recipe,
            run_dir=call.directory,
            surroundings=around,
            **{name: getattr(call.flags, name) for name in given},
        )
        _say(call, finished, console)
    names = ("metrics", "seconds", "resumed_from", "stopped", "report")
    return {"run_dir": finished.directory, "steps": finished.step, **{n: getattr(finished, n) for n in names}}


def _say(call: Invocation, run: Run, console: Console) -> None:
    if run.stopped is not None:
        again = "give the same command again" if jax.process_count() > 1 else f"go on with:\n  {call.command('train')}"
        console.print(f"stopped at step {run.step:,}, saved; {again}", soft_wrap=True)
        return
    for split, values in run.metrics.items():
        told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        console.print(f"{split}: {told}  ({run.step:,} steps, {run.seconds:.1f} s)", highlight=False)
    console.print(f"report: {run.report}", highlight=False, soft_wrap=True)
    console.print(
        "  curves, final table, throughput, mistakes or samples, and the command that made it", highlight=False
    )
