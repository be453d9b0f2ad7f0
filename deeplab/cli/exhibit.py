"""What a report shows beside numbers: predictions, the worst mistakes as pictures, samples of text."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from deeplab.data import Text
from deeplab.experiment import Experiment
from deeplab.tasks.generate import generate
from deeplab.train.evaluate import predict
from deeplab.train.feed import Feed
from deeplab.train.state import State

_WORST = 24
_SAMPLES, _PROMPT_TOKENS, _SAMPLE_TOKENS = 3, 32, 400
_TEMPERATURE = 0.8


def write(
    directory: Path, experiment: Experiment, state: State, feed: Feed, *, seed: int, data_dir: Path | None = None
) -> None:
    """Writes `predictions.npz`, and `samples.json` for a language model, into a run directory.

    Args:
      directory: of the run.
      experiment: what was trained.
      state: after the last step.
      feed: the split of the evaluation.
      seed: of the samples.
      data_dir: of the original files, from which a vocabulary may be made.
    """
    predictions = predict(experiment, state, feed, experiment.data.eval_split)
    if "image" in experiment.data.spec() and "label" in predictions:
        predictions |= _worst(predictions, feed)
    temporary = directory / "predictions.tmp.npz"
    np.savez_compressed(temporary, **predictions)  # pyright: ignore[reportArgumentType]  # names are not keywords of savez
    temporary.replace(directory / "predictions.npz")
    if "tokens" in experiment.data.spec():
        samples = _samples(experiment, state, feed, seed, data_dir)
        (directory / "samples.json").write_text(json.dumps(samples, indent=1, ensure_ascii=False))


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
    assert isinstance(data, Text)
    vocabulary = data.open_vocabulary(data_dir)
    places = np.linspace(0, data.num_examples(data.eval_split) - 1, _SAMPLES).astype(np.int32)
    prompts = np.asarray(data.fetch(feed.source, places)["tokens"])[:, :_PROMPT_TOKENS]
    variables = {"params": state.params, **state.variables}
    tokens = generate(
        experiment.model, variables, prompts, _SAMPLE_TOKENS, jax.random.key(seed), temperature=_TEMPERATURE
    )
    return [
        {"prompt": vocabulary.decode(prompt.tolist()), "text": vocabulary.decode(text)}
        for prompt, text in zip(prompts, np.asarray(tokens).tolist(), strict=True)
    ]
