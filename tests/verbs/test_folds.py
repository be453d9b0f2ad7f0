"""Cross-validation, metrics of another split, two ideas, and the default answer of a study: as the runs alone say."""

import dataclasses
import functools
import math
import re
from typing import Any

import numpy as np
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.experiment import fold_argument
from tests import toys


@dataclasses.dataclass(frozen=True)
class Part(toys.Toy):
    """Points of which each fold holds out others."""

    fold: int = 0

    def open(self, split: str, data_dir: Any = None) -> Any:
        source = super().open(split, data_dir)
        x = source.arrays["image"] + np.float32(self.fold * (split == "test") / 4)
        return dataclasses.replace(source, arrays=source.arrays | {"image": x})


def folded(fold: dl.Fold = 0, learning_rate: float = 1e-2, norm: bool = False, steps: int = 4) -> dl.Experiment:
    """A small experiment with folds."""
    plain = toys.experiment(learning_rate=learning_rate, norm=norm, steps=steps)
    return dataclasses.replace(plain, data=Part(steps=steps, fold=fold), monitor=dl.Monitor("accuracy", "max"))


def validated(learning_rate: float = 1e-2, steps: int = 4, jitter: float = 0.1) -> dl.Experiment:
    """A small experiment that is evaluated on its training split, with another one left for a test."""
    plain = toys.experiment(learning_rate=learning_rate, norm=False, steps=steps, jitter=jitter)
    return dataclasses.replace(plain, data=toys.Toy(steps=steps, jitter=jitter, eval_split="train"))


@pytest.fixture(scope="module")
def found():
    return dl.cross_validate(folded, 3, {"learning_rate": [1e-3, 3e-1]}, seeds=2)


def test_a_fold_is_the_run_of_that_fold_alone(found):
    alone = dl.fit(functools.partial(folded, fold=2, learning_rate=3e-1), seed=1)
    (record,) = [r for r in found.records if (r["fold"], r["learning_rate"], r["seed"]) == (2, 3e-1, 1)]
    for name in ("accuracy", "loss"):
        assert record[name] == pytest.approx(alone.metrics["test"][name], rel=1e-5)
    assert record["status"] == "finished"
    assert record["best"] >= record["accuracy"]


def test_folds_have_a_mean_and_a_spread_and_no_best_one(found):
    by_fold = [
        np.mean([r["accuracy"] for r in found.records if r["fold"] == fold and r["learning_rate"] == 3e-1])
        for fold in range(3)
    ]
    assert list(found.best["units"].values()) == pytest.approx(by_fold)
    assert found.best["setting"] == {"learning_rate": 3e-1}
    overlap = toys.SIZES["test"] / toys.SIZES["train"]
    assert found.best["error"] == pytest.approx(np.std(by_fold, ddof=1) * math.sqrt(1 / 3 + overlap))
    difference = found.difference({"learning_rate": 1e-3}, {"learning_rate": 3e-1})
    (small,) = [entry for entry in found.summary["settings"] if entry["setting"]["learning_rate"] == 1e-3]
    assert difference.mean == pytest.approx(np.mean(by_fold) - small["mean"])
    assert difference.n == 3
    assert "3 folds, 2 seeds each" in str(found)
    assert "Nadeau and Bengio" in str(found)
    assert "accuracy" in str(found)
    assert "loss" in str(found)
    with pytest.raises(UserError, match="is 0 of the settings of this sweep, expected one; it varies learning_rate"):
        found.difference({"learning_rate": 1.0}, {"learning_rate": 3e-1})


def test_the_frame_has_the_metrics_of_each_run_by_name(found):
    frame = found.frame
    assert set(frame.columns) >= {"fold", "learning_rate", "seed", "status", "steps", "accuracy", "loss", "best"}
    assert len(frame) == 12
    assert frame.groupby("learning_rate").accuracy.mean()[3e-1] == pytest.approx(found.best["mean"])
    assert found[0]["metrics"]["accuracy"] == frame.accuracy[0]


@pytest.mark.slow
def test_the_verb_is_the_sweep_over_the_folds(tmp_path, capsys):
    run = functools.partial(dl.main, folded)
    same = ["--steps", "2", "--run-dir", str(tmp_path / "cv")]
    result = run(["cv", "--folds", "2", *same])
    assert (result["members"], result["trained"], result["best"]["setting"]) == (2, 2, {})
    text = (tmp_path / "cv/report.html").read_text().partition("<details>")[0]
    assert "test accuracy of 2 folds" in text
    assert "best setting" not in text
    again = run(["sweep", "--fold", "0,1", *same])
    assert (again["trained"], again["best"]["score"]) == (0, result["best"]["score"])
    assert "2 folds" in capsys.readouterr().out


def test_what_makes_no_folds_is_told(tmp_path):
    with pytest.raises(UserError, match=r"has no argument that says which fold.*`fold: dl.Fold = 0`"):
        dl.cross_validate(toys.experiment)
    with pytest.raises(UserError, match="cv takes the folds from --folds"):
        dl.main(folded, ["cv", "--fold", "1", "--run-dir", str(tmp_path)])
    with pytest.raises(UserError, match="folds is 1, expected 2 or more"):
        dl.cross_validate(folded, 1)
    with pytest.raises(UserError, match=r"--halving .* runs of folds are not comparable"):
        dl.sweep(folded, {"fold": range(3), "learning_rate": [0.1, 0.2]}, trials=dl.Trials(halving=2))

    def two(fold: dl.Fold = 0, other: dl.Fold = 0) -> Any: ...

    with pytest.raises(UserError, match=r"fold, other are all a dl\.Fold, expected one"):
        fold_argument(two)


@pytest.mark.slow
def test_draws_are_tried_on_every_fold():
    trials = dl.Trials(search="random", num_trials=2)
    found = dl.sweep(functools.partial(folded, steps=1), {"fold": "0..1", "learning_rate": "1e-3..1e-1"}, trials=trials)
    assert [entry["units"].keys() for entry in found.summary["settings"]] == [{"fold 0", "fold 1"}] * 2
    assert len({record["learning_rate"] for record in found.records}) == 2


@pytest.mark.slow
def test_members_are_measured_on_another_split_which_has_no_part_in_the_choice():
    rates = {"learning_rate": [1e-3, 1e-1]}
    found = dl.sweep(validated, rates, test_split="test")
    alone = dl.fit(functools.partial(validated, learning_rate=1e-1))
    measured = dl.evaluate(alone, "test").metrics
    (record,) = [record for record in found.records if record["learning_rate"] == 1e-1]
    for name in ("accuracy", "loss"):
        assert record[f"test/{name}"] == pytest.approx(measured[name], rel=1e-5)
        assert record[name] == pytest.approx(alone.metrics["train"][name], rel=1e-5)
        assert record[name] != record[f"test/{name}"]
    assert record["test/best/loss"] > 0
    assert found.best["mean"] == min(record["loss"] for record in found.records)
    assert "test/accuracy" in str(found)
    with pytest.raises(UserError, match="--test-split train: settings are chosen on that split"):
        dl.sweep(validated, rates, test_split="train")
    with pytest.raises(UserError, match="--test-split test: the processes of --backend ray measure no other split"):
        dl.sweep(validated, rates, test_split="test", trials=dl.Trials(backend="ray"))


def test_what_cannot_be_compared_is_told():
    with pytest.raises(UserError, match="1 ideas were given, expected two by name"):
        dl.compare({"plain": toys.experiment})
    with pytest.raises(UserError, match="give both experiments one Monitor"):
        dl.compare({"plain": toys.experiment, "other": folded})


@pytest.mark.slow  # the page of the search room runs the same every day
def test_two_ideas_are_compared_seed_by_seed(tmp_path):
    """The whole question: which is better, by how much, and how sure."""
    plain = functools.partial(toys.experiment, steps=6, norm=False)
    ideas = {"plain": plain, "fast": functools.partial(plain, learning_rate=0.3)}
    found = dl.compare(ideas, seeds=3, run_dir=tmp_path)
    losses = [[row["metrics"]["loss"] for row in found.sweeps[name]] for name in ideas]
    assert found.difference.mean == pytest.approx(np.mean(losses[1]) - np.mean(losses[0]))
    assert found.difference.n == 3
    assert found.sentence.startswith("loss of fast - plain: ")
    assert "give 5 or more before a claim" in found.sentence
    assert found.sentence in re.sub(r"\s+", " ", str(found))
    again = dl.compare(ideas, seeds=3, run_dir=tmp_path)
    assert [sweep.trained for sweep in again.sweeps.values()] == [0, 0]


@pytest.mark.slow
def test_a_study_needs_no_more_than_its_axes(tmp_path):
    question = dl.Study({"learning_rate": (1e-3, 1e-1)})
    short = functools.partial(toys.experiment, steps=6, norm=False)
    answer = dl.study(short, question, seeds=3, run_dir=tmp_path / "s")
    text = (tmp_path / "s/report.html").read_text()
    assert "loss of learning_rate 0.1 - learning_rate 0.001: -" in text
    assert "learning_rate 0.1 is the largest tried: try larger." in text
    assert f"report: {answer.report}" in str(answer).replace("\n", "")
    assert text.count("<svg") == 2  # all settings, and the effect of the argument
    first, second = answer.summary["settings"]
    assert first["mean"] <= second["mean"]
    assert set(first["units"]) == {"seed 0", "seed 1", "seed 2"}
    assert "paired over 3 seeds" in re.sub(r"\s+", " ", str(answer))
    assert list(answer.frame.seed) == [0, 1, 2, 0, 1, 2]
    count = dl.study(short, dl.Study(question.axes, len), seeds=3, run_dir=tmp_path / "s")
    assert (count.summary, count.trained) == (6, 0)
    assert "learning_rate 0.1" in str(count)
