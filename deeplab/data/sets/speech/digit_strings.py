"""Strings of spoken digits, composed of FSDD's recordings when a batch is fetched."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Source
from deeplab.data.prepare import wav
from deeplab.data.sets.base import ExampleSet, check_split
from deeplab.data.sets.fields import Field
from deeplab.data.sets.speech.fsdd import DIGITS, FSDD, RATE

SIZE = 5 * RATE
"""Samples of a string. A longer string gets shorter silences, and ends before the digit that does not fit."""

_FEWEST, _MOST = 3, 7


@dataclasses.dataclass(frozen=True)
class DigitStrings(ExampleSet):
    """Three to seven digits in one voice with silences between them, and noise over all.

    A string is a pure function of its split and number: the voice, the digits and the takes are drawn uniformly from
    the recordings of that split, and the silences before, between and after them uniformly up to `silence`. White noise
    is added at a signal-to-noise ratio uniform within `noise`. Strings are not stored: the recordings are on the
    device, and a batch of strings is gathered from them inside the step. The training split has a million strings, so a
    run hardly repeats one; the other splits are small and fixed.

    A label is [7] tokens, d + 1 for digit d and 0 for padding.

    Args:
      recordings: Recordings, with their splits.
      silence: Longest silence, in seconds.
      noise: Smallest and largest signal-to-noise ratio, in dB.
      sizes: Number of strings of the training split, and of each other split.
    """

    recordings: FSDD = dataclasses.field(default_factory=FSDD)
    silence: float = 0.3
    noise: tuple[float, float] = (10.0, 30.0)
    sizes: tuple[int, int] = (2**20, 500)
    name: str = "digit_strings"
    version: str = "1.0.0"
    class_names: tuple[str, ...] = DIGITS
    rate: ClassVar[int] = RATE
    cached: ClassVar[bool] = False

    @property
    def citation(self) -> str:
        return self.recordings.citation

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: self.sizes[split != "train"] for split in self.recordings.splits}

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "audio": Field((SIZE,)),
            "length": Field((), "int32", low=RATE, below=SIZE + 1),
            "label": Field((_MOST,), "int32", low=1, below=len(DIGITS) + 1),
            "label_length": Field((), "int32", low=_FEWEST, below=_MOST + 1),
        }

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        """The recordings of the split, and the shape of their grid of speakers, digits and takes."""
        check_split(self, split)
        arrays = self.recordings.open(split, data_dir).arrays
        speakers, takes = self.recordings.grid(split)
        # The split is part of the seed, so that strings of one number differ in more than their takes.
        grid = np.array([len(speakers), len(takes), list(self.splits).index(split)], np.int32)
        return Source(self.splits[split], {"audio": arrays["audio"], "length": arrays["length"], "grid": grid})

    def fetch(self, source: Source, ids: Any) -> dict[str, Any]:
        return self._strings(*(source.arrays[name] for name in ("audio", "length", "grid")), ids)

    @functools.partial(jax.jit, static_argnums=0)
    def _strings(self, audio: Any, lengths: Any, grid: Any, numbers: Any) -> dict[str, jax.Array]:
        return jax.vmap(self._string, in_axes=(None, None, None, 0))(audio, lengths, grid, numbers)

    def _string(self, audio: Any, lengths: Any, grid: Any, number: Any) -> dict[str, jax.Array]:
        """One string, from recordings [N, S] and their lengths [N]."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), grid[2]), number)
        keys = jax.random.split(key, 6)
        count = jax.random.randint(keys[0], (), _FEWEST, _MOST + 1)
        speaker = jax.random.randint(keys[1], (), 0, grid[0])
        digits = jax.random.randint(keys[2], (_MOST,), 0, len(DIGITS))
        takes = jax.random.randint(keys[3], (_MOST,), 0, grid[1])
        silences = jnp.round(self.silence * RATE * jax.random.uniform(keys[4], (_MOST + 1,))).astype(jnp.int32)
        rows = (speaker * len(DIGITS) + digits) * grid[1] + takes
        sizes = jnp.asarray(lengths)[rows]
        count = jnp.minimum(count, jnp.sum(jnp.cumsum(sizes) <= SIZE))
        used = jnp.arange(_MOST) < count
        starts, end = _layout(jnp.where(used, sizes, 0), jnp.where(jnp.arange(_MOST + 1) <= count, silences, 0))
        voice = _gather(jnp.asarray(audio), rows, starts, jnp.where(used, sizes, 0)) / 2.0**15
        return {
            "audio": self._noisy(keys[5], voice, end),
            "length": end,
            "label": jnp.where(used, digits + 1, 0),
            "label_length": count,
        }

    def _noisy(self, key: jax.Array, x: jax.Array, length: jax.Array) -> jax.Array:
        """Adds white noise within `length`; uniform noise sounds the same as normal noise and is faster to draw."""
        ratio_key, noise_key = jax.random.split(key)
        low, high = self.noise
        decibels = jax.random.uniform(ratio_key, minval=low, maxval=high)
        amplitude = jnp.sqrt(3 * jnp.sum(x**2) / length * 10 ** (-decibels / 10))
        white = amplitude * jax.random.uniform(noise_key, x.shape, minval=-1.0)
        return jnp.where(jnp.arange(SIZE) < length, x + white, 0)

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """One audio file of up to 5 s; see `deeplab.data.prepare.wav.read` for what is resampled or refused."""
        x = wav.read(path, RATE)
        if len(x) > SIZE:
            raise UserError(f"{path} is {len(x) / RATE:.1f} s long, expected at most {SIZE / RATE:.0f} s; cut it")
        yield path.name, {"audio": np.pad(x, (0, SIZE - len(x))), "length": np.array(len(x), np.int32)}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        tokens = prediction["prediction"][: prediction["prediction_length"]]
        return {
            "transcript": " ".join(DIGITS[token - 1] for token in tokens),
            "log_prob": float(prediction["log_prob"]),
        }


def _layout(sizes: jax.Array, silences: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Start of each recording, and end of the last silence; silences shrink where not all would fit.

    Example:
      >>> starts, end = _layout(jnp.array([10, 20]), jnp.array([1, 2, 3]))
      >>> starts.tolist(), int(end)
      ([1, 13], 36)
    """
    room = SIZE - jnp.sum(sizes)
    silences = jnp.floor(silences * jnp.minimum(1.0, room / jnp.maximum(jnp.sum(silences), 1))).astype(jnp.int32)
    ends = jnp.cumsum(sizes + silences[:-1])
    return ends - sizes, ends[-1] + silences[-1]


def _gather(audio: jax.Array, rows: jax.Array, starts: jax.Array, sizes: jax.Array) -> jax.Array:
    """Recordings `rows` of `audio` [N, S], of `sizes`, placed at ascending `starts` in silence."""
    time = jnp.arange(SIZE)
    which = jnp.sum(time[:, None] >= starts[None, 1:], axis=1)  # [T]: the recording that started last
    since = time - starts[which]
    inside = (since >= 0) & (since < sizes[which])
    # One flat index is faster than two.
    flat = rows[which] * audio.shape[1] + jnp.clip(since, 0, audio.shape[1] - 1)
    return jnp.where(inside, audio.reshape(-1)[flat], 0).astype(jnp.float32)
