"""Features of sound against librosa, the field's reference."""

import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.data import audio

librosa = pytest.importorskip("librosa")

SOUND = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
SIZES = pytest.mark.parametrize(
    ("rate", "fft_size", "window", "hop"), [(8000, 256, 200, 80), (16000, 400, 400, 160), (22050, 1024, 1024, 256)]
)


@SIZES
def test_stft(rate, fft_size, window, hop):
    ours = audio.stft(jnp.asarray(SOUND), audio.hann(window, fft_size), hop)
    theirs = librosa.stft(SOUND, n_fft=fft_size, hop_length=hop, win_length=window, center=True, pad_mode="constant")
    np.testing.assert_allclose(ours, theirs.T, atol=2e-4)  # float32; the largest values are near 100


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("unit_area", [True, False])
@SIZES
def test_mel_filters(rate, fft_size, window, hop, scale, unit_area):
    ours = audio.mel_filters(rate, fft_size, 32, 50.0, rate / 2 - 100, scale, unit_area)
    theirs = librosa.filters.mel(
        sr=rate, n_fft=fft_size, n_mels=32, fmin=50.0, fmax=rate / 2 - 100, htk=scale == "htk",
        norm="slaney" if unit_area else None,
    )  # fmt: skip
    np.testing.assert_allclose(ours, theirs.T, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@SIZES
def test_log_mel(rate, fft_size, window, hop, scale):
    ours = audio.LogMel(rate, window, hop, fft_size, 32, 50.0, None, scale)(jnp.asarray(SOUND))
    theirs = librosa.feature.melspectrogram(
        y=SOUND, sr=rate, n_fft=fft_size, hop_length=hop, win_length=window, center=True, pad_mode="constant",
        n_mels=32, fmin=50.0, htk=scale == "htk",
    )  # fmt: skip
    np.testing.assert_allclose(ours, np.log(1e-6 + theirs.T)[: len(ours)], rtol=1e-4, atol=1e-4)
