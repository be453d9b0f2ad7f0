"""Series, sentences, translations and events of one's own, from a file to predictions, as a user would."""

import json

import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.models.recsys import factorization, sasrec
from deeplab.models.text.encoders import text_cnn
from deeplab.models.text.seq2seq import transformer

RNG = np.random.default_rng(0)


def series(path):
    hours = np.arange(160)
    dates = np.datetime64("2024-01-01T00") + hours
    rows = [f"{t},{100 + 10 * np.sin(t2 / 4):.4f}" for t, t2 in zip(dates, hours, strict=True)]
    (path / "load.csv").write_text("\n".join(["date,load", *rows]))
    (path / "new.csv").write_text("\n".join(["date,load", *rows[:40]]))

    def experiment(learning_rate: float = 1e-2) -> dl.Experiment:
        windows = dl.data.series(path / "load.csv", context=24, horizon=4, time="date")
        data = dl.data.Examples(windows, batch_size=32, epochs=4)
        return dl.Experiment(data, dl.models.DLinear(4), dl.tasks.Forecasting(), optax.adam(learning_rate))

    return experiment


def sentences(path):
    rows = [f'"a {"good" if i % 2 else "bad"} film, über {i}",{i % 2}' for i in range(40)]
    (path / "reviews.csv").write_text("\n".join(["body,stars", *rows]), encoding="utf-8")
    (path / "new.csv").write_text("body\nso good\nso bad\n")

    def experiment(learning_rate: float = 1e-2) -> dl.Experiment:
        lines = dl.data.sentences(path / "reviews.csv", text="body", label="stars", num_buckets=64, num_features=4)
        data = dl.data.Examples(lines, batch_size=16, epochs=4)
        model = dl.models.TextCNN(data.num_classes, lines.table_size, **text_cnn.VARIANTS["test"])
        return dl.Experiment(data, model, dl.tasks.Classification(fields=("tokens",)), optax.adam(learning_rate))

    return experiment


def pairs(path):
    words = [("one", "un"), ("two", "deux"), ("three", "trois"), ("four", "quatre")]
    chosen = [[words[i] for i in RNG.integers(0, 4, 3)] for _ in range(40)]
    for side, name in enumerate(("train.en", "train.fr")):
        (path / name).write_text("\n".join(" ".join(word[side] for word in line) for line in chosen) + "\n")
    (path / "new.txt").write_text("one two\n")

    def experiment(learning_rate: float = 1e-2) -> dl.Experiment:
        text = dl.data.pairs(path / "train.en", path / "train.fr", vocab_size=280)
        rows = dl.data.pair_rows.pack(per_row=1, width=text.max_tokens)
        data = dl.data.Examples(text, batch_size=16, epochs=2, prepare=dl.data.pair_rows.segments, mix=rows)
        model = dl.models.Transformer(280, **(transformer.VARIANTS["test"] | {"num_layers": 1}))
        return dl.Experiment(data, model, dl.tasks.Translation(text.text, beam=2), optax.adam(learning_rate))

    return experiment


def log(path):
    rows = [f"user {i},item {(i + t) % 9},{1 + (i + t) % 5},{t}" for t in range(8) for i in range(12)]
    (path / "log.csv").write_text("\n".join(["who,what,stars,day", *rows]))
    (path / "new.csv").write_text("what,stars\nitem 3,5\nitem 4,1\n")


def sequences(path):
    log(path)

    def experiment(learning_rate: float = 1e-2) -> dl.Experiment:
        bought = dl.data.interactions(path / "log.csv", "who", "what", time="day")
        window = dl.data.features.interactions.next_items(6)
        data = dl.data.Examples(bought, batch_size=4, epochs=2, prepare=window)
        model = dl.models.SASRec(bought.num_items, **sasrec.VARIANTS["test"])
        return dl.Experiment(data, model, dl.tasks.Ranking(dl.tasks.SampledSoftmax(8)), optax.adam(learning_rate))

    return experiment


def ratings(path):
    log(path)

    def experiment(learning_rate: float = 1e-2) -> dl.Experiment:
        rated = dl.data.interactions(path / "log.csv", "who", "what", "stars", "day", validation=0.2)
        data = dl.data.Examples(rated, 4, epochs=2, prepare=dl.data.features.interactions.hide_ratings())
        model = dl.models.Factorization(rated.num_users, rated.num_items, **factorization.VARIANTS["test"])
        task = dl.tasks.RatingPrediction(rated.reads, rated.low, rated.high)
        return dl.Experiment(data, model, task, optax.adam(learning_rate))

    return experiment


KINDS = {
    series: ({"load"}, "window 0"),
    sentences: ({"prediction", "probability"}, "film, über"),
    pairs: ({"translation", "log_prob"}, "reference:"),
    sequences: ({"recommended", "based on"}, "saw last"),
    ratings: ({"recommended", "based on"}, "rated highest"),
}


DEAR = (pairs, ratings, sentences, sequences)
NAMED = [pytest.param(kind, id=kind.__name__, marks=[pytest.mark.slow] * (kind in DEAR)) for kind in KINDS]


@pytest.mark.parametrize("kind", NAMED)
def test_from_a_file_to_predictions(kind, tmp_path, monkeypatch):
    """The run is found again when it has finished; a file is predicted, and the report shows examples."""
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "cache"))
    experiment, (told, shown) = kind(tmp_path), KINDS[kind]
    run = dl.fit(experiment, run_dir=tmp_path / "run")
    assert dl.fit(experiment, run_dir=tmp_path / "run").metrics == run.metrics
    assert run.step == experiment().num_steps
    assert np.isfinite(run.metrics["test"]["loss"])
    (new,) = tmp_path.glob("new.*")
    result = dl.main(experiment, ["predict", str(new), "--run-dir", str(tmp_path / "run")])
    assert not result["failed"]
    for values in result["predictions"].values():
        assert told == values.keys()
    assert shown in json.dumps(json.loads((tmp_path / "run/cards.json").read_text()), ensure_ascii=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NAMED)
def test_smoke(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "cache"))
    assert dl.fit(kind(tmp_path), smoke=True).step == 4
