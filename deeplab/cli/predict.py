"""`predict`: what a trained run says of a user's own files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape

from deeplab import scale
from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.evaluate import load
from deeplab.cli.train import run_directory
from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch, Data
from deeplab.experiment import Experiment
from deeplab.train.state import State
from deeplab.train.step import make_predict

_OF_LABELS = ("id", "label", "loss")  # what predictions say about a label, which a user's file has not


@dataclasses.dataclass(frozen=True)
class PredictFlags(CommonFlags):
    """Flags of predict.

    Args:
      files: Files, or folders of them.
      checkpoint: The last one, or the best by the experiment's monitor.
      out: Folder for predictions that are images.
    """

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    checkpoint: Literal["last", "best"] = "last"
    out: Path = Path("predictions")


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Predicts for each example of each file; a file that cannot be read is named, and the others go on.

    Returns:
      run_dir, predictions ({name: what is told}), failed ({file: why}); and exit_code 2 where a file failed.
    """
    flags: PredictFlags = call.flags
    experiment, mesh = call.experiment(), scale.make_mesh("auto")
    directory = run_directory(call)
    failed: dict[str, str] = {}
    examples = list(_read(experiment.data, _expand(flags.files), flags.data_dir, failed))
    for file, why in failed.items():
        console.print(f"[red]left out:[/] {escape(why if file in why else f'{file}: {why}')}", highlight=False)
    told: dict[str, Any] = {}
    if examples:
        state = load(experiment, directory / "checkpoints", mesh, flags.checkpoint, call)
        for name, prediction in _predict(experiment, state, examples, call.runtime):
            told[name] = _keep_images(experiment.data.describe(prediction), name, flags.out)
            console.print(f"{name}: " + ", ".join(f"{k} {_short(v)}" for k, v in told[name].items()), highlight=False)
    return {"run_dir": directory, "predictions": told, "failed": failed, "exit_code": 2 if failed else 0}


def _expand(paths: Sequence[Path]) -> list[Path]:
    """Files, those of folders in the order of their names."""
    if not paths:
        raise UserError("predict was given no file; name files, or folders of them: predict FILE ...")
    files = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        if path.is_dir() and not inside:
            raise UserError(f"{path} is an empty folder; give a file, or a folder of files")
        files += inside if path.is_dir() else [path]
    return files


def _read(
    data: Data, files: Sequence[Path], data_dir: Path | None, failed: dict[str, str]
) -> Iterator[tuple[str, Batch]]:
    for file in files:
        try:
            if not file.is_file():
                raise UserError(f"there is no file {file}")
            yield from data.read_file(file, data_dir)
        except UserError as error:
            failed[str(file)] = str(error)


def _predict(
    experiment: Experiment, state: State, examples: Sequence[tuple[str, Batch]], runtime: Runtime
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Batch by batch, the last one padded by its first example."""
    size = min(experiment.data.batch_size, len(examples))
    function = jax.jit(make_predict(experiment, runtime))
    for part in (examples[i : i + size] for i in range(0, len(examples), size)):
        padded = [example for _, example in part] + [part[0][1]] * (size - len(part))
        batch = {name: np.stack([example[name] for example in padded]) for name in padded[0]}
        weight = (np.arange(size) < len(part)).astype(np.float32)
        out = jax.device_get(function(state, batch | {"weight": weight, "id": np.arange(size, dtype=np.int32)}))
        for i, (name, _) in enumerate(part):
            yield name, {key: value[i] for key, value in out.items() if key not in _OF_LABELS}


def _keep_images(told: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """Writes values that are images, [H, W, 3] uint8, and tells where."""
    kept = dict(told)
    for key, value in told.items():
        if isinstance(value, np.ndarray) and value.ndim == 3:
            from PIL import Image

            folder.mkdir(parents=True, exist_ok=True)
            kept[key] = folder / f"{Path(name).stem}-{key}.png"
            Image.fromarray(value).save(kept[key])
    return kept


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
