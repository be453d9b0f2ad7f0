"""`predict` on a user's own lines, in another language: each is translated, and odd ones are named as such."""

import dataclasses

import numpy as np
import pytest

import deeplab as dl
from deeplab.models.text.seq2seq import transformer
from experiments import text_translation
from tests.data.sets.test_multi30k import captions, contents


def small(learning_rate: float = 1e-2) -> dl.Experiment:
    made = text_translation.experiment(vocab_size=290, epochs=1, learning_rate=learning_rate, beam=2)
    dataset = captions()
    data = dataclasses.replace(made.data, dataset=dataset, epochs=None, num_steps=3, eval_split="test_2017_flickr")
    model = dl.models.Transformer(290, **(transformer.VARIANTS["test"] | {"num_layers": 1}))
    return dataclasses.replace(made, data=data, model=model, task=dl.tasks.Translation(dataset.text, beam=2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The flags of a run, whose set lies in a folder."""
    folder, patch = tmp_path_factory.mktemp("translation"), pytest.MonkeyPatch()
    patch.setenv("DEEPLAB_CACHE", str(folder / "cache"))
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    flags = ["--run-dir", str(folder / "run"), "--data-dir", str(folder)]
    result = dl.main(small, ["train", *flags])
    yield flags, result
    patch.undo()


@pytest.mark.slow
def test_training_tells_bleu(trained):
    metrics = trained[1]["metrics"]["test_2017_flickr"]
    assert {"loss", "perplexity", "accuracy", "bleu", "sacrebleu"} == set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.slow
def test_a_line_is_a_sentence(trained, tmp_path):
    (tmp_path / "mine.txt").write_text("Two dogs.\n犬も\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("")
    result = dl.main(small, ["predict", str(tmp_path), *trained[0]])
    name = f"{tmp_path / 'mine.txt'}"
    assert list(result["predictions"]) == [f"{name}:1", f"{name}:2 (no known token)"]
    for told in result["predictions"].values():
        assert set(told) == {"translation", "log_prob"}
        assert told["log_prob"] < 0
    assert list(result["failed"]) == [str(tmp_path / "empty.txt")]


@pytest.mark.slow
def test_the_page_shows_translations_beside_references(trained):
    page = dl.report.write(trained[0][1]).read_text()
    assert "translation:" in page
    assert "Zwei Hunde".lower() in page.lower()
