"""What a report shows beside numbers: predictions, the worst mistakes as pictures, samples of text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deeplab.experiment import Experiment
from deeplab.train.evaluate import predict
from deeplab.train.feed import Feed
from deeplab.train.state import State

_WORST = 24
_SAMPLES, _SAMPLE_TOKENS = 3, 400


def write(directory: Path, experiment: Experiment, state: State, feed: Feed, *, seed: int) -> None:
    """Writes `predictions.npz`, and `samples.json` for a language model, into a run directory."""
    predictions = predict(experiment, state, feed, experiment.data.eval_split)
    if "image" in experiment.data.spec() and "label" in predictions:
        predictions |= _worst(predictions, feed)
    temporary = directory / "predictions.tmp.npz"
    np.savez_compressed(temporary, **predictions)  # pyright: ignore[reportArgumentType]  # names are not keywords of savez
    temporary.replace(directory / "predictions.npz")
    if "tokens" in experiment.data.spec():
        (directory / "samples.json").write_text(json.dumps(_samples(experiment, state, feed, seed), indent=1))


def _worst(predictions: dict[str, np.ndarray], feed: Feed) -> dict[str, np.ndarray]:
    """The wrong predictions of the largest loss, as raw images."""
    wrong = np.flatnonzero(predictions["label"] != predictions["prediction"])
    worst = wrong[np.argsort(-predictions["loss"][wrong])][:_WORST]
    ids = predictions["id"][worst]
    images = np.asarray(feed.data.fetch(feed.source, ids.astype(np.int32))["image"])
    return {"worst_id": ids, "worst_image": images}
