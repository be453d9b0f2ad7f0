"""`predict`: predictions of a trained run for a user's files."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.core.arguments import to_json
from deeplab.core.errors import CheckpointError, UserError
from deeplab.runs.identity import provenance
from deeplab.verbs.load import Checkpoint, read_manifest, read_state
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


def loaded(call: Invocation, checkpoint: Checkpoint, *, others: bool = False) -> Run:
    """Loads the run of an invocation, with the state of one of its checkpoints.

    Args:
      call: Invocation.
      checkpoint: Name of the checkpoint.
      others: Whether arguments that are not the run's are a warning, not an error.

    Raises:
      UserError: The run was made with other arguments, so that its data may be prepared otherwise.
    """
    recipe = call.recipe
    if told := _differing(call):
        if not others:
            raise UserError(f"{told}\nGive this command the flags of that run")
        warnings.warn(f"{told}\nThe metrics are those of the arguments now, and are not recorded", stacklevel=2)
    experiment = recipe.experiment()
    try:
        state = read_state(experiment, call.directory, checkpoint, recipe.runtime, recipe.data_dir)
    except CheckpointError as error:
        raise CheckpointError(f"{error}:\n{call.command('train')}") from error.__cause__
    return Run(recipe, experiment, state, call.directory)


def _differing(call: Invocation) -> str:
    """The arguments of the experiment in which a run differs from the command; "" where it is not known to.

    Precision and the like are no difference here, nor is a path, which tells where the data are now, nor an argument
    that the run did not have yet, at its default.
    """
    try:
        manifest = read_manifest(call.directory)
    except UserError:  # which whoever reads the state tells
        return ""
    defaults = {name: p.default for name, p in inspect.signature(call.function).parameters.items()}
    now, old = ({name: to_json(value) for name, value in values.items()} for values in (call.arguments, defaults))
    old |= {name: value for name, value in manifest["arguments"].items() if name in now}
    paths = {name for name, value in now.items() if isinstance(value, dict) and value.keys() == {"Path"}}
    old, now = ({name: x for name, x in values.items() if name not in paths} for values in (old, now))
    table = provenance.differences({"arguments": old}, {"arguments": now}, "", "")
    if not table:
        return ""
    made = manifest.get("command") or ""
    return f"{call.directory} holds a run with other arguments:\n{table}" + (made and f"\nIt was made by\n  {made}")
