"""`probe`: what the layers of a run tell, beside initial weights and shuffled labels."""

import functools
import importlib

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.run import Run
from tests.test_experiments import NAMES, SMALL

DAILY = ("speech_digits",)


def untrained(experiment, seed=0, smoke=False):
    recipe = Recipe.of(experiment, smoke=smoke)
    return Run(recipe, recipe.experiment(), dl.init(recipe.experiment(), jax.random.key(seed)))


class Eraser(nn.Module):
    """A layer that keeps nothing of the image, after one that does."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(32, name="kept")(x.reshape(len(x), -1))
        x = nn.Dense(8, kernel_init=nn.initializers.zeros, name="erased")(x)
        return nn.Dense(10, name="head")(x)


def erasing() -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=8, num_steps=1),
        model=Eraser(),
        task=dl.tasks.Classification(),
        optimizer=optax.sgd(0.1),
    )


def test_what_a_layer_keeps_is_read_and_what_it_erases_is_not():
    found = dl.probe(untrained(erasing, seed=3), train=300, test=200, k=5)
    by_name = {layer.name: layer for layer in found.layers}
    assert list(by_name) == ["input", "kept", "erased", "head"]
    assert by_name["input"].linear > 0.85
    assert by_name["kept"].linear > 0.8
    assert by_name["kept"].neighbors > 0.85
    assert by_name["erased"].linear < 0.2
    assert all(layer.control < 0.25 for layer in found.layers)
    assert "shuffled labels" in str(found)
    assert "Probes by depth" in found._repr_html_()


def test_without_training_nothing_is_gained():
    found = dl.probe(untrained(erasing), train=100, test=50)
    assert [layer.gain for layer in found.layers] == [0.0] * 4
    assert found.sizes == (100, 50)


def test_the_verb_writes_a_page(tmp_path):
    flags = ["--smoke", "--run-dir", str(tmp_path / "run")]
    dl.main(erasing, ["train", *flags])
    told = dl.main(erasing, ["probe", "--layers", "kept", "--train-examples", "64", "--test-examples", "32", *flags])
    assert list(told["layers"]) == ["kept"]
    assert told["page"] == tmp_path / "run" / "probe.html"
    assert "0 kept" in told["page"].read_text(encoding="utf-8")
    with pytest.raises(dl.UserError, match="'kept'"):
        dl.probe(tmp_path / "run", ["kepd"], train=8, test=8)
    with pytest.raises(dl.UserError, match=r"the field 'image' is .*\[.*; name another by label=, of label"):
        dl.probe(tmp_path / "run", ["kept"], label="image", train=8, test=8)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in DAILY else pytest.mark.slow) for n in NAMES])
def test_every_experiment_is_probed_or_says_why_not(name):
    function = importlib.import_module(f"experiments.{name}").experiment
    run = untrained(functools.partial(function, **SMALL.get(name, {})), smoke=True)
    label = run.experiment.data.spec().get("label")
    if label is None or label.ndim != 1:
        with pytest.raises(dl.UserError, match=r"one class for each example|no field 'label'"):
            dl.probe(run, train=16, test=8, k=3)
        return
    found = dl.probe(run, train=16, test=8, k=3)
    assert len(found.layers) > 1
    assert all(np.isfinite([x.linear, x.random, x.control, x.neighbors]).all() for x in found.layers)
