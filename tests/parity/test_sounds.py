"""Features of sound against the field's references: the transform of PyTorch, and the filters of librosa.

Both make the transform alike, but librosa's compiles itself. So do its filters, for 20 s: every day ours are compared
with the triangles that they are.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.data.features import audio

torch = pytest.importorskip("torch")
filters = pytest.importorskip("librosa.filters")

SOUND = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
SIZES = pytest.mark.parametrize(
    ("rate", "fft_size", "window", "hop"), [(8000, 256, 200, 80), (16000, 400, 400, 160), (22050, 1024, 1024, 256)]
)


def transform(fft_size, window, hop):
    """[F, K]."""
    sound, shape = torch.from_numpy(SOUND), torch.hann_window(window)
    options = {"center": True, "pad_mode": "constant", "return_complex": True}
    return torch.stft(sound, fft_size, hop, window, shape, **options).T.numpy()


@SIZES
def test_stft(rate, fft_size, window, hop):
    ours = audio.stft(jnp.asarray(SOUND), audio.hann(window, fft_size), hop)
    np.testing.assert_allclose(ours, transform(fft_size, window, hop), atol=2e-4)  # the largest values are near 100


def triangles(rate, fft_size, low, high, scale, unit_area, bands=32):
    """[F, M]: each rises from the middle of the one before to its own, and falls to that of the next."""
    if scale == "htk":
        mels = 2595 * np.log10(1 + np.array([low, high]) / 700)
        corners = 700 * (10 ** (np.linspace(*mels, bands + 2) / 2595) - 1)
    else:  # of Slaney's toolbox: linear below 1,000 Hz, then 27 steps for a factor of 6.4
        mels = [3 * f / 200 if f < 1000 else 15 + 27 * np.log(f / 1000) / np.log(6.4) for f in (low, high)]
        steps = np.linspace(*mels, bands + 2)
        corners = np.where(steps < 15, steps * 200 / 3, 1000 * 6.4 ** ((steps - 15) / 27))
    of_bins = np.arange(fft_size // 2 + 1) * rate / fft_size
    each = [np.interp(of_bins, corners[k : k + 3], (0, 1, 0)) for k in range(bands)]
    areas = (corners[2:] - corners[:-2]) / 2
    return np.stack(each, axis=1) / (areas if unit_area else 1)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("unit_area", [True, False])
@SIZES
def test_mel_filters_are_triangles(rate, fft_size, window, hop, scale, unit_area):
    ours = audio.mel_filters(rate, fft_size, 32, 50.0, rate / 2 - 100, scale, unit_area)
    expected = triangles(rate, fft_size, 50.0, rate / 2 - 100, scale, unit_area)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("unit_area", [True, False])
@SIZES
def test_mel_filters(rate, fft_size, window, hop, scale, unit_area):
    ours = audio.mel_filters(rate, fft_size, 32, 50.0, rate / 2 - 100, scale, unit_area)
    theirs = filters.mel(
        sr=rate, n_fft=fft_size, n_mels=32, fmin=50.0, fmax=rate / 2 - 100, htk=scale == "htk",
        norm="slaney" if unit_area else None,
    )  # fmt: skip
    np.testing.assert_allclose(ours, theirs.T, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@SIZES
def test_log_mel(rate, fft_size, window, hop, scale):
    ours = audio.LogMel(rate, window, hop, fft_size, 32, 50.0, None, scale)(jnp.asarray(SOUND))
    mel = triangles(rate, fft_size, 50.0, rate / 2, scale, unit_area=True)
    theirs = np.abs(transform(fft_size, window, hop)) ** 2 @ mel
    np.testing.assert_allclose(ours, np.log(1e-6 + theirs)[: len(ours)], rtol=1e-4, atol=1e-4)
