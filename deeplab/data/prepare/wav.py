"""Audio files: decoded, mixed down and resampled, or refused."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from deeplab.core.errors import UserError

_SILENCE = 1e-4  # of full scale, -80 dB: three steps of 16 bits


def read(path: Path, rate: int) -> np.ndarray:
    """An audio file (WAV, FLAC, Ogg, ...) as [T] float32 in [-1, 1] at `rate` samples per second.

    Another rate is resampled, and several channels are averaged, each with a warning.

    Raises:
      UserError: the file is no audio file, is truncated, or holds nothing but silence.
    """
    content = path.read_bytes()
    x, given = decode(content, str(path))
    declared = 8 + int.from_bytes(content[4:8], "little") if content[:4] == b"RIFF" else 0
    if len(content) < declared < 2**32 - 2**12:  # a writer to a pipe cannot know the size, and declares the largest
        raise UserError(f"{path} is cut off: it holds {len(content):,} of {declared:,} bytes; copy it again")
    if not np.isfinite(x).all() or not len(x) or np.abs(x).max() < _SILENCE:
        what = "samples that are not finite" if not np.isfinite(x).all() else "nothing but silence"
        raise UserError(f"{path} holds {what} ({len(x) / given:.2f} s); record it again")
    if x.shape[1] > 1:
        warnings.warn(f"{path}: {x.shape[1]} channels are averaged", stacklevel=2)
    x = x.mean(axis=1)
    if given != rate:
        from scipy.signal import resample_poly

        warnings.warn(f"{path}: {given:,} Hz are resampled to {rate:,} Hz", stacklevel=2)
        common = math.gcd(given, rate)
        x = resample_poly(x, rate // common, given // common)
    return np.asarray(x, np.float32)


def decode(content: bytes, name: str, dtype: Literal["float32", "int16"] = "float32") -> tuple[np.ndarray, int]:
    """The samples of an encoded file, [T, channels], and their rate.

    Raises:
      UserError: the content is not an audio file.
    """
    import soundfile

    try:
        return soundfile.read(io.BytesIO(content), dtype=dtype, always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{name} is not a sound file that can be read ({error}); repair or remove it") from error
