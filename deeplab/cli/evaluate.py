"""`eval`: the metrics of a trained run, on any split."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import jax
from rich.console import Console

from deeplab import scale
from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.train import run_directory
from deeplab.core.errors import CheckpointError, UserError
from deeplab.experiment import Experiment
from deeplab.runs.checkpoint import Checkpoints
from deeplab.train.evaluate import make_evaluator, predict
from deeplab.train.feed import make_feed
from deeplab.train.initialize import init
from deeplab.train.state import State


@dataclasses.dataclass(frozen=True)
class EvalFlags(CommonFlags):
    """Flags of eval.

    Args:
      checkpoint: The last one, or the best by the experiment's monitor.
      split: Which split; the one that training evaluates on when left out.
    """

    checkpoint: Literal["last", "best"] = "last"
    split: str | None = None


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Evaluates a checkpoint.

    Returns:
      run_dir, step, split, metrics.
    """
    flags: EvalFlags = call.flags
    experiment = call.experiment()
    mesh = scale.make_mesh(flags.mesh)
    directory = run_directory(call)
    split = flags.split or experiment.data.eval_split
    state = load(experiment, directory / "checkpoints", mesh, flags.checkpoint, call)
    data = experiment.data
    if split == "train":
        raise UserError(
            "--split train is endless; evaluate on one of the other splits, such as --split " + data.eval_split
        )
    feed = make_feed(data, data.open(split, flags.data_dir), mesh)
    metrics = make_evaluator(experiment, feed, split, call.runtime)(state)
    metrics |= experiment.task.summarize(predict(experiment, state, feed, split, call.runtime))
    step = int(state.step)
    text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    console.print(f"{split} at step {step:,} ({flags.checkpoint} checkpoint): {text}", highlight=False)
    return {"run_dir": directory, "step": step, "split": split, "metrics": metrics}


def load(experiment: Experiment, directory: Any, mesh: jax.sharding.Mesh, which: str, call: Invocation) -> State:
    """The state of a run's last or best checkpoint, placed on a mesh."""
    shapes = jax.eval_shape(functools.partial(init, experiment, runtime=call.runtime), jax.random.key(0))
    shardings = scale.state_shardings(shapes, experiment.sharding_rules, mesh, offload=call.runtime.offload)
    abstract = jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)
    with Checkpoints(directory, best=experiment.monitor) as checkpoints:
        step = checkpoints.best() if which == "best" else None
        found = checkpoints.latest(abstract) if step is None else checkpoints.load(step, abstract)
    if found is None:
        raise CheckpointError(f"{directory} holds no checkpoint; train first:\n  {call.command('train')}")
    return found[0]
