"""The verb `explain`: every experiment's predictions on one page, with what each map is worth."""

import functools
import html
import importlib

import jax
import numpy as np
import pytest

import deeplab as dl
from deeplab.verbs.explaining import subject
from deeplab.verbs.explaining.explain import page
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.run import Run
from tests.test_experiments import NAMES, SMALL

DAILY = ("text_classification",)  # explained at the tap of an embedding


def untrained(name):
    """A run of made-up data with initial weights: what is explained does not depend on training."""
    function = importlib.import_module(f"experiments.{name}").experiment
    recipe = Recipe.of(functools.partial(function, **SMALL.get(name, {})), smoke=True)
    return Run(recipe, recipe.experiment(), dl.init(recipe.experiment(), jax.random.key(0)))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in DAILY else pytest.mark.slow) for n in NAMES])
def test_every_experiment_is_explained(name, tmp_path):
    run = untrained(name)
    if type(run.experiment.task).score is dl.tasks.Task.score:  # models of data and of views: no class and no number
        with pytest.raises(dl.UserError, match=r"no method explains this model: \w+ defines no score; add a method"):
            dl.explain_run(run, count=2, methods=("input x gradient",))
        return
    found = dl.explain_run(run, count=2, methods=("input x gradient",))
    assert set(found.report.each) == {"input x gradient", "random", "edges"}
    assert found.left_out == {}
    assert all(len(values) == 2 and np.isfinite(values).all() for values in found.report.maps.values())
    assert len(found.blocks) >= 3
    written = page(found, name, tmp_path / "explain.html").read_text()
    assert html.escape(found.told) in written
    assert "input x gradient" in written


def test_the_verb_explains_the_worst_mistakes_and_a_file(tmp_path):
    from PIL import Image

    from experiments.image_digits import experiment

    flags = ["--smoke", "--width", "8", "--run-dir", str(tmp_path / "run")]
    dl.main(experiment, ["train", *flags])
    file = tmp_path / "mine.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(file)
    told = dl.main(experiment, ["explain", str(file), "--methods", "input x gradient", *flags])
    assert told["page"] == tmp_path / "run" / "explain.html"
    assert "mine.png" in told["page"].read_text()
    assert set(told["ranking"]) == {"input x gradient", "random", "edges"}
    run = dl.load(tmp_path / "run")
    with pytest.raises(dl.UserError, match="ids was given"):
        dl.explain_run(run, ids=[10**6])
    with pytest.raises(dl.UserError, match="did you mean 'deeplift'"):
        dl.explain_run(run, count=1, methods=("deeplft",))


def test_a_region_is_what_the_baseline_is_not_called_too():
    classes = np.array([[[0, 1, 1], [1, 2, 0]], [[0, 0, 1], [0, 2, 0]]])
    before = np.array([[[0, 0, 0], [1, 0, 0]], [[0, 0, 1], [0, 2, 0]]])
    logits, start = (2.0 * jax.nn.one_hot(each, 3) for each in (classes, before))
    most, region = subject._largest(logits, start)
    assert most.tolist() == [1, 0]  # the other image is called as the baseline is: then all pixels of a class
    assert region.astype(int).tolist() == [[[0, 1, 1], [0, 0, 0]], [[1, 1, 0], [1, 0, 1]]]
    np.testing.assert_allclose(subject._within(lambda x: x, logits, most, region), [2, 2])


@pytest.mark.slow
def test_values_of_tiles_add_up_as_those_of_pixels_do():
    named = ("deeplift", "shapley", "guided backpropagation")
    report = dl.explain_run(untrained("image_digits"), count=1, methods=named, metrics=()).report
    assert set(report.each) == {*named, "random", "edges"}
    np.testing.assert_allclose(report.maps["shapley"].sum(), report.maps["deeplift"].sum(), rtol=1e-3)
    assert report.each["shapley"]["gap"].max() < 1e-4


def test_mistakes_come_first_and_the_predicted_class_is_explained():
    run = untrained("image_digits")
    found = dl.explain_run(run, count=3, measured=5, methods=("input x gradient",))
    assert found.told == "the logit of the predicted class"
    assert (found.shown, len(found.report.maps["random"])) == (3, 8)
    source = run.experiment.data.open(run.experiment.data.eval_split)
    every = run.experiment.data.fetch(source, np.arange(source.size))
    made = run.predict({name: every[name] for name in ("image", "label")})
    wrong = made["prediction"] != made["label"]
    worst = np.argsort(-np.where(wrong, made["loss"], -1), kind="stable")[:3]
    assert [title.partition(":")[0].split()[-1] for title in found.titles] == [str(i) for i in worst]
