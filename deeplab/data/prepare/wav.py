"""Audio files: decoded, mixed down and resampled, or refused."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import texts

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf"})
"""Suffixes of the files that `read` reads, in lower case."""

_SILENCE = 1e-4  # of full scale, -80 dB: three steps of 16 bits
_OVER = 2.0  # of full scale; lossy codecs and floats go a little beyond 1, integers that were not scaled far
_RATES = (1000, 1_000_000)  # Hz; others are of damaged headers, and resampling them would take all memory
_SHORTEST = 0.02  # s, less than any sound of speech
_MOST = 2**28  # samples of all channels: 1 GiB


def read(path: Path, rate: int) -> np.ndarray:
    """An audio file (WAV, FLAC, Ogg, ...) as [T] float32 in [-1, 1] at `rate` samples per second.

    Integers of any depth are scaled to [-1, 1]. With a warning each, samples up to twice beyond it are clipped, several
    channels are averaged, and another rate is resampled.

    Raises:
      UserError: the file is no audio file, is cut off, too short or too long, has an unlikely rate, holds nothing but
        silence or samples far beyond full scale, or its channels cancel each other.

    Example:
      >>> import soundfile, tempfile
      >>> path = Path(tempfile.mkdtemp(), "a.wav")
      >>> soundfile.write(path, np.full(800, 0.5), 8000)
      >>> x = read(path, rate=8000)
      >>> x.shape, x.dtype, x[0].item()
      ((800,), dtype('float32'), 0.5)
    """
    content = texts.read_bytes(path)
    x, given = decode(content, str(path))
    if len(content) < (declared := _declared(content)):
        raise UserError(f"{path} is cut off: it holds {len(content):,} of {declared:,} bytes; copy it again")
    if not _RATES[0] <= given <= _RATES[1]:
        raise UserError(f"{path} declares {given:,} samples per second, expected {_RATES[0]:,} to {_RATES[1]:,}")
    x = _mixed(_clipped(x, path, len(x) / given), path)
    if len(x) < _SHORTEST * given:
        raise UserError(f"{path} is {len(x) / given:.4f} s long, expected at least {_SHORTEST} s; record it again")
    if given != rate:
        from scipy.signal import resample_poly

        warnings.warn(f"{path}: {given:,} Hz are resampled to {rate:,} Hz", stacklevel=2)
        common = math.gcd(given, rate)
        x = np.clip(resample_poly(x, rate // common, given // common), -1, 1)
    return np.asarray(x, np.float32)


def seconds(path: Path) -> float:
    """Length of an audio file, as its header says.

    Raises:
      UserError: the file is no audio file.

    Example:
      >>> import soundfile, tempfile
      >>> path = Path(tempfile.mkdtemp(), "a.wav")
      >>> soundfile.write(path, np.zeros(800), 8000)
      >>> seconds(path)
      0.1
    """
    import soundfile

    try:
        told = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise _unreadable(str(path), error) from error
    return told.frames / told.samplerate


def loudest(x: np.ndarray, size: int) -> np.ndarray:
    """The `size` samples of most power in a row; all of a shorter sound.

    Example:
      >>> loudest(np.array([0.1, 0.5, 0.6, 0.0]), 2).tolist()
      [0.5, 0.6]
    """
    if len(x) <= size:
        return x
    power = np.concatenate([[0.0], np.cumsum(x.astype(np.float64) ** 2)])
    start = int(np.argmax(power[size:] - power[:-size]))
    return x[start : start + size]


def to_int16(x: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as integers of 16 bits.

    Example:
      >>> to_int16(np.array([-1.0, 0.5, 1.0])).tolist()
      [-32768, 16384, 32767]
    """
    return np.clip(np.round(x * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _clipped(x: np.ndarray, path: Path, seconds: float) -> np.ndarray:
    if not np.isfinite(x).all() or not len(x) or np.abs(x).max() < _SILENCE:
        what = "samples that are not finite" if not np.isfinite(x).all() else "nothing but silence"
        raise UserError(f"{path} holds {what} ({seconds:.2f} s); record it again")
    if (peak := np.abs(x).max()) > _OVER:
        raise UserError(f"{path} holds samples up to {peak:,.1f}, expected -1 to 1; scale them")
    if peak > 1:
        warnings.warn(f"{path}: samples up to {peak:.2f} are clipped to 1", stacklevel=3)
    return np.clip(x, -1, 1)


def _mixed(x: np.ndarray, path: Path) -> np.ndarray:
    """The mean of the channels, [T, channels] -> [T]; refused where they cancel each other, as in antiphase."""
    if x.shape[1] == 1:
        return x[:, 0]
    mean = x.mean(axis=1)
    # Of C channels a single one that sounds leaves 1 / C of the mean power: less by 10 dB is a cancellation.
    if np.abs(mean).max() < _SILENCE or np.mean(mean**2) < np.mean(x**2) / (10 * x.shape[1]):
        raise UserError(f"{path}: its {x.shape[1]} channels cancel each other when averaged; save one of them")
    warnings.warn(f"{path}: {x.shape[1]} channels are averaged", stacklevel=3)
    return mean


def _declared(content: bytes) -> int:
    """Bytes that a WAV or AIFF file has by its header: in all, or up to the end of its samples; 0 for other formats."""
    if content[:4] not in (b"RIFF", b"FORM"):
        return 0
    order: Literal["little", "big"] = "little" if content[:4] == b"RIFF" else "big"
    claims, at = [(8, int.from_bytes(content[4:8], order))], 12  # (start, size) in bytes
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], order)
        if content[at : at + 4] in (b"data", b"SSND"):
            claims.append((at + 8, size))
            break
        at += 8 + size + size % 2  # a chunk begins at an even place
    # A writer to a pipe cannot know a size, and declares the largest, of 31 or 32 bits.
    return max((start + size for start, size in claims if size % 2**31 < 2**31 - 2**13), default=0)


def decode(content: bytes, name: str, dtype: Literal["float32", "int16"] = "float32") -> tuple[np.ndarray, int]:
    """The samples of an encoded file, [T, channels], and their rate.

    Raises:
      UserError: the content is not an audio file, is cut off, or has more than 2**28 samples.

    Example:
      >>> import soundfile, tempfile
      >>> path = Path(tempfile.mkdtemp(), "a.wav")
      >>> soundfile.write(path, np.zeros((800, 2)), 8000)
      >>> x, rate = decode(path.read_bytes(), "a.wav")
      >>> x.shape, rate
      ((800, 2), 8000)
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            declared = file.frames
            if declared * file.channels > _MOST:
                raise UserError(f"{name} has {declared * file.channels:,} samples, expected at most {_MOST:,}; cut it")
            x = file.read(dtype=dtype, always_2d=True)
            if len(x) < 0.99 * declared:
                raise UserError(f"{name} is cut off: it holds {len(x):,} of {declared:,} samples; copy it again")
            return x, file.samplerate
    except soundfile.LibsndfileError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> UserError:
    return UserError(f"{name} is not a sound file that can be read ({error}); repair or remove it")
