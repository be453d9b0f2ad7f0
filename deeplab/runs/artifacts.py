"""What a report shows beside numbers: predictions, mistakes as pictures, examples as cards, samples of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def write(
    directory: Path,
    experiment: Experiment,
    state: State,
    feed: Feed,
    runtime: Runtime = Runtime(),
    *,
    seed: int,
    data_dir: Path | None = None,
) -> dict[str, float]:
    """Writes `predictions.npz`, `cards.json` and, for a language model, `samples.json` into a run directory.

    Returns the metrics of the whole split that a task makes of its predictions; {} where it makes none. Several
    processes predict together, and the first writes.

    Args:
      directory: of the run.
      experiment: what was trained.
      state: after the last step.
      feed: the split of the evaluation.
      runtime: Precision of the predictions.
      seed: of the samples.
      data_dir: of the original files, from which a vocabulary may be made.
    """
    predictions = predict(experiment, state, feed, experiment.data.eval_split, runtime)
    if "image" in experiment.data.spec() and "label" in predictions:
        predictions |= _worst(predictions, feed)
    if processes.is_primary():
        temporary = directory / "predictions.tmp.npz"
        np.savez_compressed(temporary, **predictions)  # pyright: ignore[reportArgumentType]  # names are not keywords of savez
        temporary.replace(directory / "predictions.npz")
    if experiment.show is not None:
        _save(directory / "cards.json", _cards(experiment.show, predictions, feed))
    if isinstance(experiment.data, (Text, Packed)):
        _save(directory / "samples.json", _samples(experiment, state, feed, seed, data_dir))
    return summary(experiment, predictions)


def summary(experiment: Experiment, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The metrics that a task makes of a whole split's predictions; {} where it makes none."""
    return experiment.task.summarize(predictions)


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
