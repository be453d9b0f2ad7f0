"""`predict`: predictions of a trained run for a user's files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.core.errors import CheckpointError
from deeplab.verbs.load import Checkpoint, read_state
from deeplab.verbs.predict import predict_files
from deeplab.verbs.run import Run


@dataclasses.dataclass(frozen=True)
class PredictFlags(CommonFlags):
    """Flags of predict.

    Args:
      files: Files, or folders of files.
      checkpoint: Last checkpoint, or the best by the experiment's monitor.
      out: Folder for predictions that are images.
    """

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    checkpoint: Checkpoint = "last"
    out: Path = Path("predictions")


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Predicts for files or folders of your own; a file that cannot be read is reported and skipped.

    Returns:
      run_dir, predictions by example, failed (reasons by file); and exit_code 2 if a file failed.
    """
    flags: PredictFlags = call.flags
    found = predict_files(lambda: loaded(call, flags.checkpoint), call.recipe, flags.files, out=flags.out)
    console.print(found, highlight=False, soft_wrap=True)
    told = {"predictions": found.predictions, "failed": found.failed}
    return {"run_dir": call.directory, **told, "exit_code": 2 if found.failed else 0}


def loaded(call: Invocation, checkpoint: Checkpoint) -> Run:
    """Loads the run of an invocation, with the state of one of its checkpoints."""
    recipe = call.recipe
    experiment = recipe.experiment()
    try:
        state = read_state(experiment, call.directory, checkpoint, recipe.runtime, recipe.data_dir)
    except CheckpointError as error:
        raise CheckpointError(f"{error}:\n{call.command('train')}") from error.__cause__
    return Run(recipe, experiment, state, call.directory)
