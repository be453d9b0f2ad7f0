"""`probe`: what the layers of a run tell, beside initial weights and shuffled labels."""

import functools
import importlib

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core import blocks
from deeplab.verbs.explaining.subject import preparer
from deeplab.verbs.probing import views
from deeplab.verbs.probing.features import _classes, features_of, reader
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.run import Run
from tests.generate.members import Denoiser
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


def generative(make) -> Run:
    def experiment() -> dl.Experiment:
        data = dl.data.Images("digits", batch_size=8, num_steps=1, normalize=None)
        return dl.Experiment(data, *make(), optax.sgd(0.1))

    return untrained(experiment)


SHAPE = (8, 8, 1)


@pytest.mark.parametrize(
    "task",
    [dl.generate.FlowMatching(SHAPE, num_classes=10), dl.generate.Diffusion(SHAPE, num_classes=10)],
    ids=["flow", "diffusion"],
)
def test_a_class_that_a_generative_model_can_be_told_is_not_read_off_its_input(task):
    """Even a network that reads the class alone tells nothing of it."""

    class Told(nn.Module):
        @nn.compact
        def __call__(self, x, time, label, train=False):
            steer = nn.Embed(11, 16, name="told")(label) + nn.Dense(16, name="time")(time[:, None])
            return x + nn.Dense(64, name="out")(steer).reshape(x.shape)

    found = {x.name: x for x in dl.probe(generative(lambda: (Told(), task)), train=100, test=50, k=3).layers}
    assert found["out"].linear < 0.4
    assert found["input"].linear > 0.5


@pytest.mark.parametrize("process", [dl.generate.noise_prediction(), dl.generate.edm()], ids=["ddpm", "edm"])
def test_a_denoiser_is_probed_at_a_noise_of_training(process):
    task = dl.generate.Diffusion(SHAPE, process, num_classes=4)
    image = np.random.default_rng(0).uniform(size=(200, *SHAPE)).astype(np.float32)
    noisy, label, classes = task.inputs({"image": image, "id": np.arange(200)})
    drawn = jax.vmap(lambda key: process.frame(process.draw(key)).label)(jax.random.split(jax.random.key(1), 2000))
    assert np.mean(np.asarray(drawn) < float(label[0])) == pytest.approx(0.1, abs=0.03)
    assert np.asarray(classes).tolist() == [4] * 200
    assert np.corrcoef(np.ravel(noisy), np.ravel(image))[0, 1] > 0.8
    assert abs(np.mean(noisy)) < 0.1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: (Denoiser(10, 4.0), dl.generate.MeanFlow(SHAPE, num_classes=10)),
            "MeanFlow tells its model the field 'label'",
        ),
        (
            lambda: (dl.models.Generator(SHAPE, (8, 4)), dl.generate.R3GAN(dl.models.Critic((4, 8)), 8)),
            "the inputs of R3GAN do not depend on the example",
        ),
        (
            lambda: (Denoiser(10), dl.tasks.Classification(fields=("image", "weight", "label"))),
            "Classification tells its model the field 'label'",
        ),
    ],
    ids=["told", "noise", "fields"],
)
def test_a_model_that_is_told_the_classes_or_reads_no_example_is_refused(make, said):
    with pytest.raises(dl.UserError, match=said):
        dl.probe(generative(make), ["hidden1" if "tells" in said else "input"], train=16, test=8, k=3)


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


def test_all_batches_of_a_run_are_prepared_by_one_program():
    """A trace calls `prepare`; five batches of one shape take no more traces than one, and layers and splits share."""
    traces = []

    def counted(example, key):
        traces.append(1)
        return example

    def experiment() -> dl.Experiment:
        rows = {"x": np.ones((40, 3), np.float32), "label": np.arange(40, dtype=np.int32) % 2}
        data = dl.data.Examples({"train": rows, "test": rows}, batch_size=8, num_steps=1, prepare=counted)
        return dl.Experiment(data, dl.models.MLP(2, ()), dl.tasks.Classification(fields=("x",)), optax.sgd(0.1))

    def traced(make):
        traces.clear()
        make()
        return len(traces)

    run = untrained(experiment)
    data, source = run.experiment.data, run.experiment.data.open("test")
    batches = [data.fetch(source, np.arange(8) + i) for i in range(5)]

    def read(batches, **options):
        return features_of(run.experiment, run.state, iter(batches), ["head"], **options)

    assert traced(lambda: read(batches)) == traced(lambda: read(batches[:1])) > 0
    prepare = preparer(run.experiment)
    assert traced(lambda: [prepare(raw) for raw in batches]) > 0
    assert traced(lambda: read(batches, prepare=prepare)) == 0


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tokens": np.zeros((4, 8), int)}, "no field 'label', nor any other of one class for each example"),
        ({"sort": np.zeros(4, int)}, "no field 'label'; known are sort"),
        ({"label": np.zeros((4, 2), int), "sort": np.zeros(4, int)}, r"'label' is int64\[4, 2\]; .* label=, of sort"),
    ],
)
def test_what_a_probe_can_read_is_told(fields, told):
    with pytest.raises(dl.UserError, match=told):
        _classes({"id": np.arange(4)}, fields, "label")


def test_parameters_are_no_constants_of_the_program_of_features():
    """Which all splits and states share."""
    run = untrained(erasing)
    batch = preparer(run.experiment)(run.experiment.data.fetch(run.experiment.data.open("test"), np.arange(4)))
    traced = jax.make_jaxpr(reader(run.experiment, ["kept"]))(run.state, batch)
    assert max((np.size(x) for x in traced.consts), default=0) < 64  # the kernel has 64 x 32


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


def test_a_run_is_looked_at_beside_another(monkeypatch):
    """Of the same network the alignment of a layer with itself is 1; of another seed's it is less."""
    monkeypatch.setattr("sklearn.manifold.TSNE.fit_transform", lambda self, x: x[:, :2])
    run, other = untrained(erasing, seed=3), untrained(erasing, seed=4)
    found = dl.probe(run, ["input", "kept", "head"], train=300, test=60, k=5, beside=other, look=True)
    similar, few, spread, near, filters, units = found.further
    values = np.array(similar["blocks"][0]["values"])
    assert similar["blocks"][0]["columns"] == ["input", "kept", "erased", "head"]
    assert values[0, 0] == pytest.approx(1, abs=1e-3)
    assert values[1, 1] < 0.98
    assert few["blocks"][0]["lines"][0]["steps"] == pytest.approx(np.log10([10, 30, 300]), abs=0.1)
    assert few["blocks"][0]["lines"][0]["values"][2] > few["blocks"][0]["lines"][0]["values"][0]
    assert [row[0] for row in spread["blocks"][1]["body"]] == ["input", "kept", "head"]
    assert len(near["blocks"][0]["images"]) == 60
    assert len(filters["blocks"][0]["cards"]) == 32  # of a layer that reads all pixels
    assert len(units["blocks"][0]["cards"]) == 8
    page = found._repr_html_()
    assert "Similarity of layers" in page
    assert "&lt;image" in page  # a point of the map


def test_features_are_probed_on_the_data_of_another_run():
    """The other run's labels are constant, so that nothing is wrong there."""
    arrays = {
        split: {"image": np.random.default_rng(0).integers(0, 255, (40, 8, 8, 1), np.uint8), "label": np.full(40, 7)}
        for split in ("train", "test")
    }

    def constant() -> dl.Experiment:
        data = dl.data.Images(arrays, batch_size=8, num_steps=1)
        return dl.Experiment(data, Eraser(), dl.tasks.Classification(), optax.sgd(0.1))

    found = dl.probe(untrained(erasing), ["kept"], train=30, test=20, k=3, on=untrained(constant))
    assert found.layers[0].linear == found.chance == 1.0


def test_units_show_what_they_answer_to_most():
    images = np.arange(5.0).reshape(5, 1, 1, 1) / 4 * np.ones((1, 4, 4, 1))
    features = {"layer": np.stack([np.arange(5.0), 0.1 * np.array([3.0, 0, 4, 1, 2])], axis=1)}
    block = views.units(features, images, each=2, examples=2)
    shown = [[part["label"] for part in card["parts"]] for card in block["blocks"][0]["cards"]]
    assert shown == [["4", "3"], ["0.4", "0.3"]]
    assert block["blocks"][0]["cards"][0]["parts"][0]["source"] == blocks.picture(images[4])["source"]


def test_few_labels_are_drawn_from_each_class():
    x = np.random.default_rng(0).normal(size=(300, 4))
    y = np.repeat([0, 1, 2], [200, 90, 10])
    x[:, 0] += 6 * y
    seen = []

    def fit(features, one_hot):
        seen.append(one_hot.sum(axis=0))
        return dl.representation.ridge()(features, one_hot)

    found = dl.representation.few_shot((x, y), (x, y), (0.01, 0.1, 1.0), draws=2, fit=fit)
    assert found.counts == (4, 30, 300)
    np.testing.assert_array_equal(np.array(seen[::2]), [[2, 1, 1]] * 2 + [[20, 9, 1]] * 2 + [[200, 90, 10]])
    assert found.mean[2] > 0.95
    assert found.deviation[2] == 0
