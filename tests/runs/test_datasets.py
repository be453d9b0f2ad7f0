"""A run belongs to its data: their content and the names of their classes are compared when it goes on or is read."""

import dataclasses
import functools
import hashlib
import json
import shutil
import warnings

import flax.linen as nn
import numpy as np
import optax
import pytest
from PIL import Image

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.data.digest import digest
from deeplab.data.prepare import cache
from deeplab.data.prepare.files import File
from deeplab.data.sets.base import TextSet
from deeplab.models.text.decoders import llama

N = 12


class Linear(nn.Module):
    num_classes: int = 2

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


def experiment(folder: str = "", num_steps: int = 4, learning_rate: float = 0.1) -> dl.Experiment:
    data = dl.data.Images(dl.data.image_folder(folder, size=4), batch_size=4, num_steps=num_steps)
    return dl.Experiment(data, Linear(data.num_classes), dl.tasks.Classification(), optax.sgd(learning_rate))


def write(folder, names=("cat", "dog"), shift=0):
    """Dark images of the first class and bright ones of the second."""
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(N):
            Image.new("RGB", (4, 4), (100 * k + 5 * i + shift,) * 3).save(folder / name / f"{i:02}.png")


@pytest.fixture
def trained(tmp_path):
    write(tmp_path / "pets")
    return go(tmp_path), tmp_path


def go(tmp_path, **options):
    function = functools.partial(experiment, folder=str(tmp_path / "pets"))
    return dl.fit(function, run_dir=tmp_path / "run", **options)


def loaded(tmp_path):
    return dl.load(tmp_path / "run", experiment)


def record(tmp_path):
    return json.loads((tmp_path / "run/run.json").read_text())


def test_the_record_holds_names_and_content(trained):
    run, tmp_path = trained
    kept = record(tmp_path)
    assert kept["class_names"] == ["cat", "dog"]
    assert {name: split["examples"] for name, split in kept["data"]["splits"].items()} == {"train": 20, "test": 4}
    assert kept["data"]["splits"]["test"]["digest"] == digest(run.experiment.data, run.experiment.data.open("test"))
    assert go(tmp_path).step == 4  # the same data go on
    assert dl.evaluate(loaded(tmp_path)).metrics["accuracy"] == run.metrics["test"]["accuracy"]


def test_changed_images_are_not_trained_on_or_reported_in_silence(trained):
    _, tmp_path = trained
    before = record(tmp_path)
    write(tmp_path / "pets", shift=3)
    with pytest.raises(UserError, match=r"(?s)other data.*split 'train': 20 .* now 20 .*split 'test'.*--fresh"):
        go(tmp_path)
    assert record(tmp_path)["data"] == before["data"]  # nor does a second call
    with pytest.raises(UserError, match="other data"):
        go(tmp_path)
    with pytest.warns(UserWarning, match="data have changed since the run .split 'test'"):
        dl.evaluate(loaded(tmp_path))
    with pytest.warns(UserWarning, match="continues with other data"):
        go(tmp_path, allow_change=True)
    assert go(tmp_path).step == 4  # from now on these are its data


def test_fresh_and_runs_of_earlier_versions_accept_any_data(trained):
    _, tmp_path = trained
    write(tmp_path / "pets", shift=3)
    old = {name: value for name, value in record(tmp_path).items() if name != "data"}
    (tmp_path / "run/run.json").write_text(json.dumps(old))
    assert go(tmp_path).step == loaded(tmp_path).step == 4
    write(tmp_path / "pets", shift=6)
    assert go(tmp_path, fresh=True).step == 4


def test_a_renamed_class_keeps_its_name_in_predictions(trained):
    run, tmp_path = trained
    image = np.zeros((2, 4, 4, 3), np.uint8)
    image[1] = 255
    told = run.describe(run.predict(image))
    (tmp_path / "pets/cat").rename(tmp_path / "pets/zebra")  # the second class now
    after = loaded(tmp_path)
    assert after.class_names == ("cat", "dog")
    assert after.describe(after.predict(image)) == told
    with pytest.raises(UserError, match="trained with the classes cat, dog, and the data now have dog, zebra"):
        dl.evaluate(after)
    with pytest.raises(UserError, match=r"class 0: 'cat', now 'dog'\n  class 1: 'dog', now 'zebra'"):
        go(tmp_path)
    again = loaded(tmp_path)  # a refused session has not changed the names
    assert again.describe(again.predict(image)) == told


def test_another_number_of_classes_is_named(trained):
    _, tmp_path = trained
    shutil.copytree(tmp_path / "pets/cat", tmp_path / "pets/ant")
    with pytest.raises(UserError, match="2 classes cat, dog, and the data now have the 3 classes ant, cat, dog"):
        loaded(tmp_path)


def test_the_rows_of_a_sweep_are_of_one_data_set(tmp_path):
    write(tmp_path / "pets")

    def sweep():
        function = functools.partial(experiment, folder=str(tmp_path / "pets"))
        return dl.sweep(function, {"learning_rate": [0.1, 0.2]}, run_dir=tmp_path / "sweep")

    assert len(sweep()) == len(sweep()) == 2
    write(tmp_path / "pets", shift=3)
    with pytest.raises(UserError, match=r"(?s)other data.*split 'train'"):
        sweep()


def text_experiment(file: str = "") -> dl.Experiment:
    data = dl.data.Text(dl.data.text_lines(file), "char", context=8, batch_size=2, num_steps=2)
    model = dl.models.GPT(data.vocab_size, num_layers=1, num_heads=1, width=4, context=8)
    return dl.Experiment(data, model, dl.tasks.LanguageModeling(), optax.sgd(0.1))


def test_the_vocabulary_belongs_to_the_run(tmp_path):
    """Every b becomes a c: the tokens are the same numbers."""
    text = "a b ab ba\n" * 100
    (tmp_path / "a.txt").write_text(text)
    function = functools.partial(text_experiment, file=str(tmp_path / "a.txt"))
    dl.fit(function, run_dir=tmp_path / "run")
    (tmp_path / "a.txt").write_text(text.replace("b", "c"))
    with pytest.raises(UserError, match=r"vocabulary: char-.*, now char-"):
        dl.fit(function, run_dir=tmp_path / "run")
    with pytest.raises(UserError, match="was trained with the vocabulary char-"):
        dl.load(tmp_path / "run", text_experiment)


def test_cached_arrays_have_the_digest_of_the_same_arrays_in_memory(tmp_path):
    x = np.random.default_rng(0).normal(size=(700, 20)).astype(np.float32)
    kept = cache.arrays(tmp_path / "kept", lambda: {"x": x})["x"]
    assert cache.checksums(kept) == cache.checksums(x)
    assert cache.checksums(kept[::2]) == cache.checksums(x[::2]) != cache.checksums(x)


def test_records_are_told_apart_by_examples():
    class ByRecord(dl.data.Examples):
        def open(self, split, data_dir=None):
            source = super().open(split, data_dir)
            return dl.data.base.Source(source.size, {}, records=Rows(source.arrays))

    class Rows:
        def __init__(self, arrays):
            self.arrays = arrays

        def batch(self, ids):
            if 3 in ids:
                raise UserError("record 3 is corrupted")
            return {name: array[ids] for name, array in self.arrays.items()}

    def of(value):
        x = np.arange(20.0)
        x[17] = value
        data = ByRecord({"train": {"x": x}}, batch_size=4, num_steps=1)
        return digest(data, data.open("train"))

    with warnings.catch_warnings():
        assert of(1) == of(1) != of(2)


PLAY = b"to be, or not to be: that is the question.\n" * 40


@dataclasses.dataclass(frozen=True)
class Play(TextSet):
    """A text that is read from a folder, the same in both splits."""

    name: str = "play"
    version: str = "1.0.0"
    citation: str = ""
    files: tuple[File, ...] = (
        File("play.txt", "http://data.invalid/play.txt", len(PLAY), hashlib.sha256(PLAY).hexdigest()),
    )

    @property
    def splits(self):
        return dict.fromkeys(("train", "validation"), len(PLAY))

    def read(self, split, content):
        return content("play.txt")


@pytest.mark.slow
def test_a_text_whose_length_its_vocabulary_tells_is_read_from_the_folder(tmp_path, monkeypatch):
    """On a cold cache: nothing asks for the number of windows before the folder is known."""
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "play.txt").write_bytes(PLAY)

    def function(learning_rate: float = 0.1) -> dl.Experiment:
        data = dl.data.Text(Play(), "bpe:260", context=8, batch_size=4, num_steps=2)
        model = dl.models.Llama(data.vocab_size, **llama.VARIANTS["test"])
        return dl.Experiment(data, model, dl.tasks.LanguageModeling(), optax.sgd(learning_rate))

    assert int(dl.fit(function, data_dir=tmp_path, run_dir=tmp_path / "run").state.step) == 2
