"""Features of sound against the field's references: the transform of PyTorch, and the filters of librosa.

Both make the transform alike, but librosa's compiles itself.
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
    mel = filters.mel(sr=rate, n_fft=fft_size, n_mels=32, fmin=50.0, htk=scale == "htk")
    theirs = np.abs(transform(fft_size, window, hop)) ** 2 @ mel.T
    np.testing.assert_allclose(ours, np.log(1e-6 + theirs)[: len(ours)], rtol=1e-4, atol=1e-4)
