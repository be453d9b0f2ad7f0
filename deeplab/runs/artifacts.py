"""Artifacts of a finished run, for its report: predictions, examples as cards, and the task's own blocks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.runtime import Runtime
from deeplab.core.text import dumps
from deeplab.data.base import Data
from deeplab.experiment import Experiment, Show
from deeplab.runs.identity.datasets import HasVocabulary
from deeplab.scale import processes
from deeplab.tasks.contract.task import Trained
from deeplab.train.bind import bind
from deeplab.train.evaluate import predict
from deeplab.train.feed import Feed
from deeplab.train.state import State, eval_state

_WORST, _SPREAD = 24, 12


def predictions(
    experiment: Experiment, state: State, feed: Feed, runtime: Runtime = Runtime()
) -> dict[str, np.ndarray]:
    """Predictions of the task for the evaluation split, [N, ...] by name; all processes take part."""
    return predict(experiment, state, feed, experiment.data.eval_split, runtime)


def write(
    directory: Path,
    experiment: Experiment,
    state: State,
    feed: Feed,
    made: Mapping[str, np.ndarray],
    runtime: Runtime = Runtime(),
    *,
    seed: int,
    data_dir: Path | None = None,
) -> None:
    """Writes the artifacts of a finished run into its directory; a failure of one is a warning.

    These are the predictions (`predictions.npz`), the cards of `Experiment.show` (`cards.json`), and the task's own
    blocks (`artifacts/NAME.json`). All processes take part, and process 0 writes.

    Args:
      directory: Run directory.
      experiment: Experiment that was trained.
      state: State after the last step.
      feed: Feed of the evaluation split.
      made: Predictions for that split.
      runtime: Precision of the model.
      seed: Seeds the randomness of the artifacts.
      data_dir: Folder with the original files, from which a vocabulary may be made.
    """
    local, shown = eval_state(processes.local(state)), _with_worst(made, experiment, feed)

    def trained() -> Trained:
        data = experiment.data
        vocabulary = data.open_vocabulary(data_dir) if isinstance(data, HasVocabulary) else None
        return Trained(
            apply=lambda size: bind(experiment, local, {"id": jnp.arange(size)}, runtime),
            predictions=shown,
            raw=lambda ids: _raw(feed, ids),
            split=data.eval_split,
            class_names=tuple(getattr(data, "class_names", None) or ()),
            decode=vocabulary and vocabulary.decode,
            num_steps=experiment.num_steps,
            key=jax.random.key(seed),
            learned=lambda field, count: _learned(data, field, count, data_dir),
        )

    def own() -> None:
        for name, value in experiment.task.artifacts(trained()).items():
            if processes.is_primary():
                (directory / "artifacts").mkdir(exist_ok=True)
            _save(directory / "artifacts" / f"{name}.json", list(value))

    jobs: dict[str, Callable[[], None]] = {"the task's artifacts": own}
    if made:
        jobs["predictions.npz"] = lambda: _save_arrays(directory / "predictions.npz", shown)
    if (show := experiment.show or experiment.data.show) is not None:
        jobs["cards.json"] = lambda: _save(directory / "cards.json", _cards(show, made, feed))
    for name, job in jobs.items():
        try:
            job()
        except Exception as error:  # any error of a user's function, because the run itself has finished
            warnings.warn(f"{name} could not be made: {type(error).__name__}: {error}", stacklevel=2)


def _save(path: Path, value: Any) -> None:
    if processes.is_primary():
        path.write_text(dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    if processes.is_primary():
        temporary = path.with_suffix(".tmp.npz")
        np.savez_compressed(temporary, **arrays)  # pyright: ignore[reportArgumentType]  # names are not keywords of savez
        temporary.replace(path)


def _learned(data: Data, field: str, count: int, data_dir: Path | None) -> np.ndarray:
    source = data.open("train", data_dir)
    ids = np.unique(np.linspace(0, source.size - 1, min(count, source.size)).astype(np.int32))
    parts = [data.transform(data.fetch(source, part))[field] for part in np.split(ids, range(1000, len(ids), 1000))]
    return np.concatenate([np.asarray(part) for part in parts])


def _raw(feed: Feed, ids: np.ndarray) -> dict[str, np.ndarray]:
    batch = feed.data.fetch(feed.source, np.asarray(ids, np.int32))
    return {name: np.asarray(array) for name, array in batch.items()}


def _cards(show: Show, predictions: Mapping[str, np.ndarray], feed: Feed) -> list[dict[str, Any]]:
    """Cards of the highest losses, and of examples spread evenly over the split."""
    size = len(predictions["id"])
    spread = np.unique(np.linspace(0, size - 1, _SPREAD).astype(int))
    groups = {"Examples": spread}
    if "loss" in predictions:
        groups = {"Highest losses": np.argsort(-predictions["loss"], kind="stable")[:_SPREAD]} | groups
    made = []
    for heading, rows in groups.items():
        chosen = {name: array[rows] for name, array in predictions.items() if len(array) == size}
        made.append({"heading": heading, "cards": list(show(_raw(feed, predictions["id"][rows]), chosen))})
    return made


def _with_worst(made: Mapping[str, np.ndarray], experiment: Experiment, feed: Feed) -> dict[str, np.ndarray]:
    """Predictions, and for image classification also the raw images of the errors with the largest losses."""
    numbers = {name for name, x in made.items() if x.ndim == 1 and x.dtype.kind in "biuf"}
    if "image" not in experiment.data.spec() or not {"label", "prediction", "loss"} <= numbers:
        return dict(made)
    wrong = np.flatnonzero(made["label"] != made["prediction"])
    ids = made["id"][wrong[np.argsort(-made["loss"][wrong])][:_WORST]]
    return {**made, "worst_id": ids, "worst_image": _raw(feed, ids)["image"]}
