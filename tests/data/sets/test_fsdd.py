"""Spoken digits: each recording is where it belongs, and strings are made of nothing else."""

import dataclasses
import io
import itertools
import os
import tarfile
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from deeplab.core.errors import UserError
from deeplab.data import Examples
from deeplab.data.features import audio, speech
from deeplab.data.prepare import originals
from deeplab.data.sets.speech.digit_strings import SIZE, DigitStrings
from deeplab.data.sets.speech.fsdd import FSDD, SPEAKERS

ORIGINALS = os.environ.get("DEEPLAB_DATA_DIR")  # the real files, where they are at hand
LONG = (0, 0, 0)


def level(speaker: int, digit: int, take: int) -> int:
    """The only value in a made-up recording; above 1,000, and another in each."""
    return 1001 + (speaker * 10 + digit) * 50 + take


def recording(speaker: int, digit: int, take: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        size = 8500 if (speaker, digit, take) == LONG else 1000 + digit
        out.writeframes(np.full(size, level(speaker, digit, take), "<i2").tobytes())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A set of the form of FSDD, and the folder of its archive."""
    everything = [(s, d, t) for s in range(6) for d in range(10) for t in range(50)]
    members = {f"recordings/{d}_{SPEAKERS[s]}_{t}.wav": recording(s, d, t) for s, d, t in everything}
    folder = tmp_path_factory.mktemp("fsdd")
    with tarfile.open(folder / "free-spoken-digit-dataset.tar.gz", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"any/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    size, digest = sum(map(len, members.values())), originals.digest(members)
    archive = dataclasses.replace(FSDD().files[0], size=size, sha256=digest)
    return FSDD(name="small_fsdd", files=(archive,)), folder


def takes(arrays, chosen) -> set[int]:
    return {(int(x) - 1001) % 50 for x in arrays["audio"][chosen, 0]}


def test_the_official_split(small):
    dataset, folder = small
    train, test = (dataset.open(split, folder) for split in ("train", "test"))
    assert (train.size, test.size) == (2700, 300)
    assert takes(test.arrays, slice(None)) == set(range(5))
    assert takes(train.arrays, slice(None)) == set(range(5, 50))
    number = (3 * 10 + 7) * 45 + 11
    example = {name: array[number] for name, array in train.arrays.items()}
    assert (example["speaker"], example["label"], example["length"]) == (3, 7, 1007)
    assert (example["audio"][:1007] == level(3, 7, 16)).all()
    assert not example["audio"][1007:].any()


def test_what_is_too_long_is_cut(small):
    dataset, folder = small
    arrays = dataset.open("test", folder).arrays
    assert arrays["length"][0] == 8000
    assert (arrays["audio"][0] == level(*LONG)).all()


def test_a_speaker_who_is_held_out(small):
    dataset, folder = small
    dataset = dataclasses.replace(dataset, held_out="lucas")
    train, test = (dataset.open(split, folder) for split in ("train", "test"))
    assert (train.size, test.size) == (2500, 500)
    assert set(test.arrays["speaker"]) == {2}
    assert set(train.arrays["speaker"]) == {0, 1, 3, 4, 5}


def test_validation_takes_are_not_learnt_from(small):
    dataset, folder = small
    dataset = dataclasses.replace(dataset, validation=True)
    assert dict(dataset.splits) == {"train": 2400, "validation": 300, "test": 300}
    assert takes(dataset.open("validation", folder).arrays, slice(None)) == set(range(5, 10))
    assert takes(dataset.open("train", folder).arrays, slice(None)) == set(range(10, 50))
    held = dataclasses.replace(dataset, held_out="theo")
    assert dict(held.splits) == {"train": 2250, "validation": 250, "test": 500}


def strings(small, **changes):
    """Strings without noise, so that each sample says where it is from."""
    dataset, folder = small
    dataset = DigitStrings(dataset, noise=(150.0, 150.0), sizes=(10_000, 40), **changes)
    return Examples(dataset, batch_size=16, num_steps=2), folder


@pytest.mark.parametrize(("split", "allowed"), [("train", range(5, 50)), ("test", range(5))])
def test_strings_are_what_their_labels_say(small, split, allowed):
    data, folder = strings(small)
    batch = data.fetch(data.open(split, folder), np.arange(40))
    voices = set()
    for i in range(40):
        sound = np.round(np.asarray(batch["audio"][i]) * 2**15).astype(int)
        end, count = int(batch["length"][i]), int(batch["label_length"][i])
        assert not sound[end:].any()
        edges = np.flatnonzero(np.diff(sound, prepend=0, append=0))
        runs = [(a, b) for a, b in itertools.pairwise(edges) if sound[a]]
        heard = [divmod(sound[a] - 1001, 50) for a, _ in runs]
        said = [int(x) - 1 for x in batch["label"][i][:count]]
        assert [row % 10 for row, _ in heard] == said
        assert len({row // 10 for row, _ in heard}) == 1  # one voice
        assert {take for _, take in heard} <= set(allowed)
        assert not batch["label"][i][count:].any()
        assert 3 <= count <= 7
        lengths = [b - a for a, b in runs]
        assert all(n == 1000 + d or n >= 8000 for n, d in zip(lengths, said, strict=True))
        gaps = np.diff([0, *(x for run in runs for x in run), end])[::2]
        assert (gaps <= 0.3 * 8000).all()
        voices.add(heard[0][0] // 10)
    assert len(voices) == 6


def test_a_string_is_its_number(small):
    data, folder = strings(small)
    source = data.open("test", folder)
    whole, other = data.fetch(source, np.arange(40)), data.fetch(source, np.arange(40)[::-1] + 3)
    for name in ("audio", "label", "length"):
        np.testing.assert_array_equal(whole[name][5], other[name][37])
    train = data.fetch(data.open("train", folder), np.arange(40))
    assert not np.array_equal(whole["label"], train["label"])


def test_a_string_that_is_too_long_has_fewer_digits(small):
    data, folder = strings(small)
    source = data.open("train", folder)
    long = {**source.arrays, "audio": np.ones((2700, 8000), np.int16), "length": np.full(2700, 8000, np.int32)}
    batch = data.fetch(dataclasses.replace(source, arrays=long), np.arange(40))
    assert set(np.asarray(batch["label_length"]).tolist()) == {3, 4, 5}  # of 1 s each, in 5 s
    assert batch["length"].max() <= SIZE


def test_noise_has_its_ratio(small):
    data, folder = strings(small)
    noisy = dataclasses.replace(data, dataset=dataclasses.replace(data.builder, noise=(20.0, 20.0)), num_steps=1)
    clean, loud = (d.fetch(d.open("test", folder), np.arange(40)) for d in (data, noisy))
    power = [np.mean(x**2, axis=1) for x in (clean["audio"], loud["audio"] - clean["audio"])]
    np.testing.assert_allclose(10 * np.log10(power[0] / power[1]), 20, atol=0.2)


@pytest.mark.parametrize("make", [lambda s: s[0], lambda s: strings(s)[0].builder])
def test_files_of_ones_own(small, make, tmp_path):
    data = Examples(make(small), batch_size=2, num_steps=1, prepare=speech.log_mels(audio.LogMel(rate=8000)))
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(6000) / 5) / 2, 8000)
    ((name, example),) = data.read_file(tmp_path / "a.wav")
    assert (name, example["length"]) == ("a.wav", 6000)
    scale = 2.0**15 if example["audio"].dtype == np.int16 else 1.0
    np.testing.assert_allclose(example["audio"][:6000] / scale, np.sin(np.arange(6000) / 5) / 2, atol=1e-4)
    batch = {k: jnp.asarray(v)[None] for k, v in example.items()} | {"id": jnp.zeros(1, jnp.int32)}
    spec = data.spec()
    assert all(v.shape[1:] == spec[k].shape[1:] for k, v in jax.jit(data.transform)(batch).items())


def test_files_that_are_too_long(small, tmp_path):
    sound = np.concatenate([np.full(40_000, 0.01), np.full(8000, 0.5)])
    soundfile.write(tmp_path / "long.wav", sound, 8000)
    with pytest.warns(UserWarning, match=r"of 6.00 s the loudest second is read"):
        ((_, example),) = small[0].read_file(tmp_path / "long.wav")
    assert (example["audio"] > 16_000).all()
    with pytest.raises(UserError, match=r"long.wav is 6.0 s long, expected at most 5 s; cut it"):
        next(strings(small)[0].read_file(tmp_path / "long.wav"))


def test_a_prediction_is_told_as_words(small):
    prediction = {
        "prediction": np.array([3, 10, 0, 0]), "prediction_length": np.int32(2), "log_prob": np.float32(-0.5),
    }  # fmt: skip
    assert strings(small)[0].describe(prediction) == {"transcript": "two nine", "log_prob": -0.5}


@pytest.mark.skipif(not ORIGINALS, reason="DEEPLAB_DATA_DIR names no folder with the originals")
def test_the_published_archive():
    dataset = FSDD()
    lengths = np.concatenate([dataset.open(s, f"{ORIGINALS}/fsdd").arrays["length"] for s in dataset.splits])
    assert len(lengths) == 3000
    assert (lengths == 8000).sum() == 20  # of which none was exactly so long
