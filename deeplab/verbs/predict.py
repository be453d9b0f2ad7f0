"""`predict_files`: predictions of a trained run for a user's files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.data.base import Batch, Data
from deeplab.data.prepare import folders
from deeplab.verbs.load import opened
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.run import Run


@dataclasses.dataclass(frozen=True)
class FilePredictions(Printable):
    """Predictions for files.

    Attributes:
      predictions: Predictions of each example, by its path or by that and its place in the file, with class names in
        place of numbers.
      failed: Reasons by file, for files that could not be read.
    """

    predictions: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]

    def __rich__(self) -> Any:
        from rich.text import Text

        failed = [f"left out: {why if file in why else f'{file}: {why}'}" for file, why in self.failed.items()]
        told = [
            f"{name}: " + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
            for name, values in self.predictions.items()
        ]
        return Text("\n".join([*failed, *told]))


def predict(run: Run | str | Path, inputs: Any, **options: Any) -> dict[str, np.ndarray]:
    """Predictions for examples in memory: `Run.predict` of a run or of a run directory.

    Args:
      run: Run, or its directory.
      inputs: Raw examples [N, ...]; a dict by field name if the model reads several fields.
      **options: Arguments of `dl.load`, if a directory is given.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> run = dl.fit(experiment, smoke=True)
      >>> sorted(dl.predict(run, np.zeros((3, 8, 8, 1), np.uint8)))
      ['prediction', 'probability']
    """
    return opened(run, **options).predict(inputs)


def predict_files(
    run: Callable[[], Run], recipe: Recipe, paths: Sequence[Path], *, out: Path = Path("predictions")
) -> FilePredictions:
    """Predicts for each example of each file; a file that cannot be read is reported and skipped.

    Args:
      run: Function that returns the run; called after the first file has been read.
      recipe: Recipe of the run, whose data set reads the files.
      paths: Files, or folders of files.
      out: Folder for predictions that are images.

    Raises:
      UserError: No file is given, or a folder is empty.

    Example:
      >>> import tempfile
      >>> import PIL.Image
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> run = dl.fit(experiment, smoke=True)
      >>> file = Path(tempfile.mkdtemp()) / "zero.png"
      >>> PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(file)
      >>> found = dl.predict_files(lambda: run, run.recipe, [file])
      >>> sorted(found.predictions[str(file)])
      ['prediction', 'probability']
    """
    failed: dict[str, str] = {}
    examples = examples_of(recipe, paths, failed)
    if not examples:
        return FilePredictions({}, failed)
    loaded = run()
    fields = {name: np.stack([example[name] for _, example in examples]) for name in examples[0][1]}
    found = loaded.predict(fields)
    if not found:
        raise UserError(
            f"{type(loaded.experiment.task).__name__} predicts nothing for a file: its `predict` gives only what needs "
            "a label; let it give the prediction, too"
        )
    places = _places([name for name, _ in examples])
    told = {
        name: _keep_images(described, out / place)
        for (name, _), place, described in zip(examples, places, loaded.describe(found), strict=True)
    }
    return FilePredictions(told, failed)


def examples_of(recipe: Recipe, paths: Sequence[Path], failed: dict[str, str]) -> list[tuple[str, Batch]]:
    """The raw examples of files, or of folders of them, each with its name.

    Args:
      recipe: Recipe of a run, whose data set reads the files.
      paths: Files, or folders of files.
      failed: Dict that receives the reasons, by file, for those that cannot be read.
    """
    return list(_read(recipe.experiment().data, _expand(paths), recipe.data_dir, failed))


def _expand(paths: Sequence[Path]) -> list[Path]:
    """Expands folders into their files, in the order of names, without what systems add.

    A file that is given twice counts once.
    """
    if not paths:
        raise UserError("predict was given no file; name files, or folders of them: predict FILE ...")
    files = []
    for path in paths:
        inside = list(folders.files(path)) if path.is_dir() else []
        if path.is_dir() and not inside:
            raise UserError(f"{path} is an empty folder; give a file, or a folder of files")
        files += inside if path.is_dir() else [path]
    return [*dict.fromkeys(files)]


def _read(
    data: Data, files: Sequence[Path], data_dir: Path | None, failed: dict[str, str]
) -> Iterator[tuple[str, Batch]]:
    for file in files:
        try:
            if not file.is_file():
                raise UserError(f"there is no file {file}")
            for name, example in data.read_file(file, data_dir):
                yield str(file.parent / name), example
        except UserError as error:
            failed[str(file)] = str(error)


def _places(names: Sequence[str]) -> list[Path]:
    """Relative paths for what is made from files: without their common folder, and without suffixes where they are
    not needed to tell files apart.

    Example:
      >>> [str(place) for place in _places(["a/1.png", "b/1.png"])], [str(p) for p in _places(["a/1.png", "a/1.jpg"])]
      (['a/1', 'b/1'], ['1.png', '1.jpg'])
    """
    paths = [Path(os.path.abspath(name)) for name in names]
    common = os.path.commonpath([path.parent for path in paths])
    whole = [path.relative_to(common) for path in paths]
    short = [path.with_suffix("") for path in whole]
    return short if len(set(short)) == len(set(whole)) else whole


def _keep_images(told: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Writes values that are images, [H, W, 3] uint8, as PLACE-KEY.png, and replaces them by these paths."""
    kept = dict(told)
    for key, value in told.items():
        if isinstance(value, np.ndarray) and value.ndim == 3:
            from PIL import Image

            kept[key] = place.with_name(f"{place.name}-{key}.png")
            kept[key].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(value).save(kept[key])
    return kept
