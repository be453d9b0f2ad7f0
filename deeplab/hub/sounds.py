"""From waveforms of any length to what a model reads, as a folder says it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.features import audio

Sounds = np.ndarray | Sequence[np.ndarray]
"""A waveform [N] in [-1, 1], or several, of one length or of many."""


@dataclasses.dataclass(frozen=True)
class Spectrograms:
    """Log-mel spectrograms of one length: max(l, max(l) - 8) / 4 + 1, l = log10(1e-10 + power), silence after the end.

    Args:
      rate: Samples per second of the waveforms.
      samples: Length to which they are cut or filled with silence.
      num_mels: Number of bands M.
      fft_size: Samples of a window.
      hop: Samples between frames.

    Example:
      >>> Spectrograms(samples=1600)(np.ones(500)).shape
      (1, 10, 80)

    Source: Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 2.2, and its code.
    """

    rate: int = 16_000
    samples: int = 480_000
    num_mels: int = 80
    fft_size: int = 400
    hop: int = 160

    def __call__(self, sounds: Sounds) -> np.ndarray:
        """Float32 spectrograms [B, F, M].

        Raises:
          UserError: The waveforms are no floats.
        """
        x = np.stack([np.pad(x[: self.samples], (0, max(self.samples - len(x), 0))) for x in _several(sounds)])
        return np.asarray(_log_mels(self, jnp.asarray(x)))


@functools.partial(jax.jit, static_argnums=0)
def _log_mels(how: Spectrograms, x: jax.Array) -> jax.Array:
    """Frames are centered on multiples of the hop; outside, the waveform is its mirror image."""
    outside = -(-how.fft_size // 2 // how.hop)  # frames on either side that `audio.stft` fills with zeros
    mirrored = jnp.pad(x, ((0, 0), (outside * how.hop, outside * how.hop)), mode="reflect")
    spectrum = audio.stft(mirrored, audio.hann(how.fft_size), how.hop)
    spectrum = spectrum[:, outside : outside + how.samples // how.hop]
    filters = audio.mel_filters(how.rate, how.fft_size, how.num_mels, high=8000.0)
    logs = jnp.log10(jnp.maximum((spectrum.real**2 + spectrum.imag**2) @ filters, 1e-10))
    return (jnp.maximum(logs, jnp.max(logs, axis=(1, 2), keepdims=True) - 8) + 4) / 4


@dataclasses.dataclass(frozen=True)
class Waveforms:
    """Waveforms of mean 0 and variance 1 with zeros after their ends.

    Args:
      rate: Samples per second of the waveforms.
      normalize: Whether mean and variance are changed.
      masked: Whether the model is told where a waveform ends; else its padding counts in mean and variance, too.

    Example:
      >>> sound, lengths = Waveforms()([np.array([1.0, 3.0]), np.array([5.0])])
      >>> sound.tolist(), lengths.tolist()
      ([[-1.0, 1.0], [0.0, 0.0]], [2, 1])
    """

    rate: int = 16_000
    normalize: bool = True
    masked: bool = True

    def __call__(self, sounds: Sounds) -> tuple[np.ndarray, np.ndarray | None]:
        """Float32 waveforms [B, N], and their lengths, where the model is told.

        Raises:
          UserError: The waveforms are no floats.
        """
        several = _several(sounds)
        lengths = np.array([len(x) for x in several])
        x = np.stack([np.pad(x, (0, lengths.max() - len(x))) for x in several])
        inside = np.arange(x.shape[1])[None] < (lengths[:, None] if self.masked else np.inf)
        if self.normalize:
            mean = x.mean(axis=1, keepdims=True, where=inside)
            deviation = np.sqrt(x.var(axis=1, keepdims=True, where=inside) + 1e-7)
            x = np.where(inside, (x - mean) / deviation, 0)
        return x.astype(np.float32), lengths if self.masked else None


def _several(sounds: Sounds) -> list[np.ndarray]:
    one = not isinstance(sounds, list | tuple) and np.ndim(sounds) == 1
    several = [np.asarray(x) for x in ([sounds] if one else sounds)]
    if not several:
        raise UserError("there are no sounds, expected one at least")
    for x in several:
        if x.ndim != 1 or not x.size or not np.issubdtype(x.dtype, np.floating):
            raise UserError(f"a sound is {x.dtype} {list(x.shape)}, expected one channel [N] of floats from -1 to 1")
    return [x.astype(np.float32) for x in several]


def read_sounds(said: Mapping[str, Any]) -> Spectrograms | Waveforms | None:
    """What preprocessor_config.json says of sounds, if anything.

    Raises:
      UserError: It asks for what is not known here.
    """
    kind, rate = said.get("feature_extractor_type"), said.get("sampling_rate", 16_000)
    if said.get("padding_value", 0.0) or said.get("dither", 0.0):
        raise UserError("preprocessor_config.json: a padding_value or dither other than 0 is not supported")
    if kind == "WhisperFeatureExtractor":
        samples = said.get("chunk_length", 30) * rate
        return Spectrograms(
            rate, samples, said.get("feature_size", 80), said.get("n_fft", 400), said.get("hop_length", 160)
        )
    if kind == "Wav2Vec2FeatureExtractor":
        return Waveforms(rate, said.get("do_normalize", True), said.get("return_attention_mask", False))
    return None
