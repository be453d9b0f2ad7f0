"""Sound files of one's own: what is mended and said, and what is refused."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.prepare import wav

TONE = (np.sin(2 * np.pi * 440 * np.arange(8000) / 8000) / 2).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", None)]
)
def test_files_of_the_right_rate_are_read_as_they_are(tmp_path, suffix, subtype):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, TONE, 8000, subtype=subtype)
    np.testing.assert_allclose(wav.read(path, 8000), TONE, atol=1e-4)


@pytest.mark.parametrize("rate", [4000, 16_000, 44_100])
def test_another_rate_is_resampled_and_said(tmp_path, rate):
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate) / 2
    soundfile.write(tmp_path / "tone.wav", tone, rate)
    with pytest.warns(UserWarning, match=rf"tone.wav: {rate:,} Hz are resampled to 8,000 Hz"):
        x = wav.read(tmp_path / "tone.wav", 8000)
    assert x.dtype == np.float32
    assert len(x) == 8000
    np.testing.assert_allclose(x[500:-500], TONE[500:-500], atol=0.01)


def test_channels_are_averaged_and_said(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.stack([TONE, 0.5 * TONE], axis=1), 8000)
    with pytest.warns(UserWarning, match=r"stereo.wav: 2 channels are averaged"):
        np.testing.assert_allclose(wav.read(tmp_path / "stereo.wav", 8000), 0.75 * TONE, atol=1e-4)


def content(tmp_path, x=TONE, **how) -> bytes:
    soundfile.write(tmp_path / "whole.wav", x, 8000, **how)
    return (tmp_path / "whole.wav").read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda tmp: content(tmp)[:9000], r"bad.wav is cut off: it holds 9,000 of 16,044 bytes"),
        (lambda tmp: content(tmp)[:30], r"bad.wav is not a sound file that can be read"),
        (lambda tmp: b"no sound", r"bad.wav is not a sound file that can be read"),
        (lambda tmp: b"", r"bad.wav is not a sound file that can be read"),
        (lambda tmp: content(tmp, 0 * TONE), r"bad.wav holds nothing but silence \(1.00 s\)"),
        (lambda tmp: content(tmp, TONE[:0]), r"bad.wav holds nothing but silence \(0.00 s\)"),
        (lambda tmp: content(tmp, TONE / 0, subtype="FLOAT"), r"bad.wav holds samples that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
def test_what_is_refused(tmp_path, make, message):
    (tmp_path / "bad.wav").write_bytes(make(tmp_path))
    with pytest.raises(UserError, match=message):
        wav.read(tmp_path / "bad.wav", 8000)


def test_a_stream_of_unknown_length_is_not_cut_off(tmp_path):
    """A program that writes to a pipe declares the largest size."""
    streamed = bytearray(content(tmp_path))
    at = streamed.index(b"data") + 4
    for size in (2**32 - 1, 2**31 - 2**12):  # ffmpeg's, sox's
        streamed[4:8], streamed[at : at + 4] = (size.to_bytes(4, "little") for _ in range(2))
        (tmp_path / "stream.wav").write_bytes(streamed)
        np.testing.assert_allclose(wav.read(tmp_path / "stream.wav", 8000), TONE, atol=1e-4)


def stereo(tmp_path, left, right, **how) -> bytes:
    return content(tmp_path, np.stack([left, right], axis=1), **how)


def claiming(tmp_path, size: int) -> bytes:
    """A whole file whose chunk of samples declares a size of its own."""
    made = bytearray(content(tmp_path))
    at = made.index(b"data") + 4
    made[at : at + 4] = size.to_bytes(4, "little")
    return bytes(made)


def at_rate(tmp_path, rate: int) -> bytes:
    made = bytearray(content(tmp_path))
    made[24:28] = rate.to_bytes(4, "little")
    return bytes(made)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda tmp: stereo(tmp, TONE, -TONE), "its 2 channels cancel each other when averaged; save one of them"),
        (lambda tmp: stereo(tmp, TONE, -0.9 * TONE), "its 2 channels cancel each other"),
        (lambda tmp: content(tmp, 30_000 * TONE, subtype="FLOAT"), "holds samples up to 15,000.0, expected -1 to 1"),
        (lambda tmp: claiming(tmp, 10**6), "is cut off: it holds 16,044 of 1,000,044 bytes"),
        (lambda tmp: content(tmp, format="AIFF")[:9000], "is cut off: it holds 9,000 of 16,054 bytes"),
        (lambda tmp: content(tmp, format="MP3")[:1000], r"is cut off: it holds \d+ of 8,000 samples"),
        (lambda tmp: content(tmp, format="FLAC")[:4000], "is not a sound file that can be read"),
        (lambda tmp: at_rate(tmp, 1), "declares 1 samples per second, expected 1,000 to 1,000,000"),
        (lambda tmp: at_rate(tmp, 2**31 - 1), "declares 2,147,483,647 samples per second"),
        (lambda tmp: content(tmp, TONE[:100]), r"is 0.0125 s long, expected at least 0.02 s"),
    ],
)
def test_what_a_listener_would_not_hear(tmp_path, make, message):
    (tmp_path / "bad.wav").write_bytes(make(tmp_path))
    with pytest.raises(UserError, match=rf"bad.wav:? {message}"):
        wav.read(tmp_path / "bad.wav", 8000)


def test_too_long_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(wav, "_MOST", 15_000)
    (tmp_path / "long.wav").write_bytes(stereo(tmp_path, TONE, TONE))
    with pytest.raises(UserError, match="has 16,000 samples, expected at most 15,000; cut it"):
        wav.read(tmp_path / "long.wav", 8000)
    with pytest.raises(UserError, match=r"gone\.wav cannot be read"):
        wav.read(tmp_path / "gone.wav", 8000)


@pytest.mark.filterwarnings("ignore:.*are averaged")
@pytest.mark.parametrize("silent", [1, 3])
def test_one_channel_of_several_is_enough(tmp_path, silent):
    soundfile.write(tmp_path / "one.wav", np.stack([TONE, *[0 * TONE] * silent], axis=1), 8000)
    np.testing.assert_allclose(wav.read(tmp_path / "one.wav", 8000), TONE / (1 + silent), atol=1e-4)


def test_samples_a_little_beyond_full_scale_are_clipped_and_said(tmp_path):
    soundfile.write(tmp_path / "loud.wav", 2.4 * TONE, 8000, subtype="FLOAT")
    with pytest.warns(UserWarning, match=r"loud.wav: samples up to 1.20 are clipped to 1"):
        np.testing.assert_allclose(wav.read(tmp_path / "loud.wav", 8000), np.clip(2.4 * TONE, -1, 1), atol=1e-6)


FORMATS = [("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT")]
FORMATS += [("WAV", "DOUBLE"), ("WAV", "ULAW"), ("AIFF", "PCM_16"), ("FLAC", "PCM_24"), ("CAF", "PCM_16"), ("AU", None)]


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(FORMATS), channels=st.integers(1, 4), seed=st.integers(0, 2**16), peak=st.floats(0.01, 1))
@pytest.mark.filterwarnings("ignore:.*are averaged")
def test_sounds_are_the_mean_of_what_was_written(tmp_path_factory, kind, channels, seed, peak):
    path = tmp_path_factory.getbasetemp() / "mine.wav"
    made = np.random.default_rng(seed).uniform(-peak, peak, (400, channels))
    soundfile.write(path, made, 8000, format=kind[0], subtype=kind[1])
    np.testing.assert_allclose(wav.read(path, 8000), made.mean(axis=1), atol=0.05 if kind[1] == "ULAW" else 0.02)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(["WAV", "FLAC", "OGG", "AIFF", "AU"]), data=st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_is_a_sound_or_an_error_with_the_name(tmp_path_factory, kind, data):
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    soundfile.write(path, TONE[:800], 8000, format=kind)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, min(60, len(damaged) - 1)))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    said = "damaged.wav"
    try:
        x = wav.read(path, 8000)
    except UserError as error:
        said = str(error)
    else:
        assert np.isfinite(x).all()
        assert np.abs(x).max() <= 1
    assert "damaged.wav" in said
