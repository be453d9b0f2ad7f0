"""What a report shows beside numbers: predictions, mistakes as pictures, examples as cards, samples of text."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deeplab.core.runtime import Runtime
from deeplab.data import Packed, Text
from deeplab.decode.generate import generate
from deeplab.experiment import Experiment, Show
from deeplab.scale import processes
from deeplab.train.evaluate import predict
from deeplab.train.feed import Feed
from deeplab.train.state import State, eval_state

_WORST, _SPREAD = 24, 12
_SAMPLES, _PROMPT_TOKENS, _SAMPLE_TOKENS = 3, 32, 400
_TEMPERATURE = 0.8


def predictions(
    experiment: Experiment, state: State, feed: Feed, runtime: Runtime = Runtime()
) -> dict[str, np.ndarray]:
    """The task's predictions for the evaluation split, [N, ...] by name; several processes predict together."""
    return predict(experiment, state, feed, experiment.data.eval_split, runtime)


def write(
    directory: Path,
    experiment: Experiment,
    state: State,
    feed: Feed,
    made: Mapping[str, np.ndarray],
    *,
    seed: int,
    data_dir: Path | None = None,
) -> None:
    """Writes the artifacts of a finished run into its directory; one that fails is a warning, and the others go on.

    Args:
      directory: Run directory.
      experiment: Experiment that was trained.
      state: State after the last step.
      feed: Split of the evaluation.
      made: Predictions for that split.
      seed: Seeds the samples.
      data_dir: Folder with the original files, from which a vocabulary may be made.
    """

    def worst() -> None:
        arrays = dict(made)
        if "image" in experiment.data.spec() and "label" in made:
            arrays |= _worst(arrays, feed)
        if processes.is_primary():
            temporary = directory / "predictions.tmp.npz"
            np.savez_compressed(temporary, **arrays)  # pyright: ignore[reportArgumentType]  # names are not keywords of savez
            temporary.replace(directory / "predictions.npz")

    jobs: dict[str, Callable[[], None]] = {"predictions.npz": worst} if made else {}
    if experiment.show is not None:
        show = experiment.show
        jobs["cards.json"] = lambda: _save(directory / "cards.json", _cards(show, made, feed))
    if isinstance(experiment.data, (Text, Packed)):
        jobs["samples.json"] = lambda: _save(
            directory / "samples.json", _samples(experiment, state, feed, seed, data_dir)
        )
    for name, job in jobs.items():
        try:
            job()
        except Exception as error:  # whatever a user's function raises: the run itself is finished
            warnings.warn(f"the artifact {name} could not be made: {type(error).__name__}: {error}", stacklevel=2)


def _save(path: Path, value: Any) -> None:
    if processes.is_primary():
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def _cards(show: Show, predictions: Mapping[str, np.ndarray], feed: Feed) -> list[dict[str, Any]]:
    """Cards of the highest losses, and of examples spread evenly over the split."""
    size = len(predictions["id"])
    spread = np.unique(np.linspace(0, size - 1, _SPREAD).astype(int))
    groups = {"Examples": spread}
    if "loss" in predictions:
        groups = {"Highest losses": np.argsort(-predictions["loss"], kind="stable")[:_SPREAD]} | groups
    made = []
    for heading, rows in groups.items():
        batch = feed.data.fetch(feed.source, predictions["id"][rows].astype(np.int32))
        chosen = {name: array[rows] for name, array in predictions.items() if len(array) == size}
        cards = show({name: np.asarray(array) for name, array in batch.items()}, chosen)
        made.append({"heading": heading, "cards": list(cards)})
    return made


def _worst(predictions: dict[str, np.ndarray], feed: Feed) -> dict[str, np.ndarray]:
    """The wrong predictions of the largest loss, as raw images."""
    wrong = np.flatnonzero(predictions["label"] != predictions["prediction"])
    worst = wrong[np.argsort(-predictions["loss"][wrong])][:_WORST]
    ids = predictions["id"][worst]
    images = np.asarray(feed.data.fetch(feed.source, ids.astype(np.int32))["image"])
    return {"worst_id": ids, "worst_image": images}


def _samples(
    experiment: Experiment, state: State, feed: Feed, seed: int, data_dir: Path | None
) -> list[dict[str, str]]:
    """What the model makes of the beginnings of a few windows of the evaluation."""
    data = experiment.data
    assert isinstance(data, (Text, Packed))
    state = eval_state(processes.local(state))
    vocabulary = data.open_vocabulary(data_dir)
    places = np.linspace(0, data.num_examples(data.eval_split) - 1, _SAMPLES).astype(np.int32)
    prompts = np.asarray(data.fetch(feed.source, places)["tokens"])[:, :_PROMPT_TOKENS]
    variables = {"params": state.params, **state.variables}
    length = min(_SAMPLE_TOKENS, 10 * experiment.num_steps)  # a run of a few steps, such as a smoke run, writes noise
    tokens = generate(experiment.model, variables, prompts, length, jax.random.key(seed), temperature=_TEMPERATURE)
    return [
        {"prompt": vocabulary.decode(prompt.tolist()), "text": vocabulary.decode(text)}
        for prompt, text in zip(prompts, np.asarray(tokens).tolist(), strict=True)
    ]
