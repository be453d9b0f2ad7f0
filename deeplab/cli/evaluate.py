"""`eval`: the metrics of a trained run, on any split."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.predict import loaded
from deeplab.verbs.evaluate import evaluate
from deeplab.verbs.load import Checkpoint, best_of


@dataclasses.dataclass(frozen=True)
class EvalFlags(CommonFlags):
    """Flags of eval.

    Args:
      checkpoint: Last checkpoint, or the best by the experiment's monitor.
      split: Name of the split, such as test, or train, which is read whole and without augmentation; the one that
        training evaluates on when left out.
    """

    checkpoint: Checkpoint = "last"
    split: str | None = None


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Evaluates the last or the best checkpoint of a run on a split, and records the metrics in the run.

    Returns:
      run_dir, step, split, metrics, recorded.
    """
    which, one = call.flags.checkpoint, loaded(call, call.flags.checkpoint, others=True)
    if which == "best" and best_of(call.directory, one.experiment.monitor) is None:
        which = "last"  # which was loaded, with a warning
    found = evaluate(one, call.flags.split)
    console.print(f"{found} ({which} checkpoint)", highlight=False, soft_wrap=True)
    told = {"step": found.step, "split": found.split, "metrics": dict(found.metrics), "recorded": found.recorded}
    return {"run_dir": call.directory, **told}
