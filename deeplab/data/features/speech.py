"""From a waveform to the features that a recognizer reads, and to a picture of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.data.augment.audio import OfFeatures, OfWaveform
from deeplab.data.base import Prepare
from deeplab.data.features import audio


def log_mels(
    mel: audio.LogMel, of_waveform: OfWaveform | None = None, of_features: OfFeatures | None = None
) -> Prepare:
    """A `prepare` for `Examples`: `audio` [T] and `length` become `features` [F, M] and `frames`.

    The waveform is scaled to unit power, so that the floor of `mel` is relative to it, and the spectrogram is
    standardized over the example's own frames.

    Args:
      mel: Spectrogram to compute.
      of_waveform: Augmentation of the waveform in training; see `deeplab.data.augment.audio`.
      of_features: Augmentation of the standardized spectrogram in training.

    Example:
      >>> prepare = log_mels(audio.LogMel(rate=8000))
      >>> out = prepare({"audio": jnp.ones(8000), "length": jnp.int32(4001)}, None)
      >>> out["features"].shape, int(out["frames"])
      ((100, 40), 51)
    """

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        rest = {name: value for name, value in example.items() if name not in ("audio", "length")}
        length = example["length"]
        x = audio.unit_power(example["audio"].astype(jnp.float32), length)
        if key is not None and of_waveform is not None:
            x, length = of_waveform(jax.random.fold_in(key, 0), x, length)
        frames = mel.num_frames(length)
        features = audio.standardize(mel(x), frames)
        if key is not None and of_features is not None:
            features = of_features(jax.random.fold_in(key, 1), features, frames)
        return rest | {"features": features, "frames": frames}

    return prepare


def image(mel: audio.LogMel, x: np.ndarray, length: int) -> np.ndarray:
    """The spectrogram of a waveform as a picture, [2 M, 2 F] uint8: time to the right, frequency up, loud is dark.

    Example:
      >>> image(audio.LogMel(rate=8000), np.ones(8000, np.int16), 4000).shape
      (80, 100)
    """
    out = log_mels(mel)({"audio": jnp.asarray(x), "length": jnp.int32(length)}, None)
    loudness = np.asarray(out["features"])[: int(out["frames"])].T[::-1]  # F M -> M F, low frequencies at the bottom
    gray = np.clip(150 - 60 * loudness, 0, 255).astype(np.uint8)
    return np.repeat(np.repeat(gray, 2, axis=0), 2, axis=1)
