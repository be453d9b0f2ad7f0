"""Sound files of one's own: what is mended and said, and what is refused."""

import numpy as np
import pytest
import soundfile

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
    streamed[4:8] = b"\xff\xff\xff\xff"
    (tmp_path / "stream.wav").write_bytes(streamed)
    np.testing.assert_allclose(wav.read(tmp_path / "stream.wav", 8000), TONE, atol=1e-4)
