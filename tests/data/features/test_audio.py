"""Features of sound: the Fourier transform by its definition, filters that tile, and padding that changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.features import audio, speech

SOUND = np.random.default_rng(0).standard_normal(400).astype(np.float32)
scales = pytest.mark.parametrize("scale", ["slaney", "htk"])


@pytest.mark.parametrize(("size", "hop"), [(16, 4), (25, 10), (64, 64)])
def test_stft_is_its_definition(size, hop):
    window = audio.hann(size)
    padded = np.pad(SOUND, (size // 2, size))
    n, k = np.arange(size), np.arange(1 + size // 2)
    waves = np.exp(-2j * np.pi * n[:, None] * k[None] / size)
    expected = [(window * padded[f * hop : f * hop + size]) @ waves for f in range(1 + 400 // hop)]
    np.testing.assert_allclose(audio.stft(SOUND, window, hop), expected, atol=1e-4)


def test_a_short_window_lies_in_the_middle_of_a_long_transform():
    assert audio.hann(4, 8).tolist() == [0, 0, *audio.hann(4), 0, 0]


@scales
@given(st.floats(0, 24_000))
def test_mels_and_back(scale, hertz):
    there = audio.to_mel(np.array(hertz), scale)
    np.testing.assert_allclose(audio.from_mel(there, scale), hertz, rtol=1e-9, atol=1e-9)


@scales
def test_triangles_of_height_one_add_up_to_one(scale):
    filters = audio.mel_filters(8000, 1024, 20, 100.0, 3000.0, scale, unit_area=False)
    bins = np.linspace(0, 4000, 513)
    between = (bins > 300) & (bins < 2500)  # where two triangles overlap
    np.testing.assert_allclose(filters.sum(axis=1)[between], 1, atol=1e-6)
    assert not filters[(bins < 100) | (bins > 3000)].any()


@scales
def test_triangles_of_unit_area(scale):
    filters = audio.mel_filters(8000, 8192, 20, scale=scale)
    np.testing.assert_allclose(filters.sum(axis=0) * 8000 / 8192, 1, rtol=0.01)


def test_too_many_mels():
    with pytest.raises(UserError, match=r"200 mels are too many for 256 samples at 8,000 Hz: filters \[0, 3, "):
        audio.mel_filters(8000, 256, 200)


def test_a_tone_is_in_its_band():
    mel = audio.LogMel(rate=8000)
    tone = jnp.sin(2 * jnp.pi * 1000 * jnp.arange(8000) / 8000)
    filters = audio.mel_filters(8000, 256, 40, 20.0)
    assert set(np.asarray(mel(tone))[2:-2].argmax(axis=1).tolist()) == {np.argmax(filters[32])}  # bin 32 is 1,000 Hz


def test_leading_axes_are_kept():
    mel, batch = audio.LogMel(rate=8000, num_mels=10), jnp.asarray(SOUND).reshape(2, 1, 200)
    assert mel(batch).shape == (2, 1, 3, 10)
    np.testing.assert_allclose(mel(batch)[1, 0], mel(batch[1, 0]), rtol=1e-5, atol=1e-5)
    assert mel.num_frames(jnp.array([0, 1, 80, 81])).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("length", [1, 79, 80, 81, 160, 199])
def test_every_frame_that_is_counted_is_there(length):
    """Frames were rounded down, and counted rounded up: a clip shorter than a hop had none."""
    mel = audio.LogMel(rate=8000, num_mels=10)
    out = speech.log_mels(mel)({"audio": jnp.asarray(SOUND)[:length], "length": jnp.int32(length)}, None)
    assert out["features"].shape[0] == out["frames"] == mel.num_frames(jnp.int32(length))
    np.testing.assert_allclose(out["features"].mean(), 0, atol=1e-5)
    whole = audio.LogMel(rate=8000, num_mels=10)(jnp.pad(jnp.asarray(SOUND)[:length], (0, 400 - length)))
    np.testing.assert_allclose(mel(jnp.asarray(SOUND)[:length]), whole[: out["frames"]], rtol=1e-5, atol=1e-5)


def test_standardized_over_its_own_frames():
    x = jax.random.normal(jax.random.key(0), (9, 4)) * 3 + 7
    out = audio.standardize(x, jnp.int32(5))
    assert not out[5:].any()
    np.testing.assert_allclose([out[:5].mean(), out[:5].std()], [0, 1], atol=0.01)
    np.testing.assert_array_equal(out, audio.standardize(x.at[5:].set(99.0), jnp.int32(5)))
    assert jnp.isfinite(audio.standardize(x, jnp.int32(0))).all()


def test_loudness_and_what_lies_behind_the_end_change_nothing():
    prepare = speech.log_mels(audio.LogMel(rate=8000, num_mels=10))
    loud = {"audio": jnp.asarray(SOUND), "length": jnp.int32(250), "label": 3}
    out = prepare(loud, None)
    assert set(out) == {"features", "frames", "label"}
    changed = prepare({**loud, "audio": loud["audio"].at[250:].set(5.0) / 100}, None)
    np.testing.assert_allclose(out["features"], changed["features"], atol=1e-4)
    silent = prepare({**loud, "audio": jnp.zeros(400, jnp.int16)}, None)
    assert jnp.isfinite(silent["features"]).all()


def test_a_picture_has_its_low_frequencies_below():
    tone = np.sin(2 * np.pi * 400 * np.arange(8000) / 8000)
    picture = speech.image(audio.LogMel(rate=8000), tone, 4000)
    assert picture.shape == (80, 100)
    assert picture[40:].min() < picture[:40].min()
