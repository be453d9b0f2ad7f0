"""The functions of a notebook, each equal to what the command line gives."""

import dataclasses
import functools
import inspect
import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.verbs.recipe import Recipe
from tests import toys

POINTS = np.random.default_rng(0).normal(size=(37, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return dl.fit(toys.experiment, run_dir=tmp_path_factory.mktemp("fit") / "run", seed=3)


def test_a_run_in_memory_is_the_run_on_disk(trained):
    """The same bits, metrics and rows, but for the clock's."""
    memory = dl.fit(toys.experiment, seed=3)
    assert toys.same(memory.state, trained.state)
    assert memory.metrics == trained.metrics
    assert memory.directory is None
    clock = ("seconds", "steps_per_second", "stalled")
    rows = [[{k: v for k, v in row.items() if k not in clock} for row in run.rows] for run in (memory, trained)]
    assert rows[0] == rows[1]


def test_a_second_prediction_compiles_nothing(trained):
    traces = []

    class Counted(toys.Toy):
        def transform(self, batch, key=None):
            traces.append(1)
            return super().transform(batch, key)

    experiment = dataclasses.replace(trained.experiment, data=Counted(**vars(trained.experiment.data)))
    run = dataclasses.replace(trained, experiment=experiment)
    run.predict(POINTS)
    assert len(traces) == 1
    run.predict(POINTS + 1)
    assert len(traces) == 1


def test_a_function_is_the_command_line(trained, tmp_path):
    result = dl.main(toys.experiment, ["train", "--seed", "3", "--run-dir", str(tmp_path / "run")])
    assert result["metrics"] == trained.metrics
    command = json.loads((tmp_path / "run/run.json").read_text())["command"]
    assert command.replace(str(tmp_path / "run"), "DIR") == trained.recipe.command("train", run_dir="DIR")


def test_a_loaded_run_is_the_trained_one(trained):
    loaded = dl.load(trained.directory)
    assert toys.same(loaded.state, trained.state)
    assert loaded.metrics == trained.metrics
    assert [dict(row) for row in loaded.rows] == [dict(row) for row in trained.rows]
    assert dl.evaluate(trained.directory).metrics == trained.metrics["test"]
    ours, theirs = loaded.predict(POINTS), trained.predict({"image": POINTS})
    assert sorted(ours) == ["prediction", "probability"]
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert loaded.describe(ours)[0].keys() == {"prediction", "probability"}
    assert "accuracy" in str(loaded)
    assert loaded._repr_html_().startswith("<pre>")


def test_any_number_of_examples_is_predicted_as_one_by_one(trained):
    whole = trained.predict(POINTS)["probability"]
    for i in (0, 15, 36):
        np.testing.assert_allclose(trained.predict(POINTS[i : i + 1])["probability"], whole[i : i + 1], rtol=1e-6)


def test_a_prediction_needs_nothing_that_only_training_needs(trained):
    """Neither `id` nor `weight` nor the label; given ones are taken."""
    predict = dl.make_predict(trained.experiment)
    alone = predict(trained.state, {"image": jnp.asarray(POINTS)})
    given = {"label": jnp.zeros(37, jnp.int32), "weight": jnp.ones(37), "id": jnp.arange(5, 42)}
    whole = predict(trained.state, {"image": jnp.asarray(POINTS)} | given)
    assert alone.keys() == whole.keys()
    np.testing.assert_allclose(alone["probability"], trained.predict(POINTS)["probability"], rtol=1e-6)
    np.testing.assert_allclose(alone["probability"], whole["probability"], rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"imag": POINTS}, "no field|a field 'imag'; did you mean 'image'"),
        (POINTS[:, :1], r"'image' is \[37, 1\], expected \[N, 2\]"),
        ({"image": POINTS, "label": np.zeros(3, np.int32)}, "expected one size"),
    ],
)
def test_wrong_examples_are_refused(trained, inputs, text):
    with pytest.raises(UserError, match=text):
        trained.predict(inputs)


@pytest.mark.slow
def test_arguments_of_a_partial_count_by_place_as_by_name(tmp_path):
    first, second, *_ = inspect.signature(toys.experiment).parameters
    by_name = functools.partial(toys.experiment, **{first: 3, second: 7})
    for given in (
        functools.partial(toys.experiment, 3, 7),
        functools.partial(functools.partial(toys.experiment, 3), 7),
        functools.partial(toys.experiment, 3, **{second: 7}),
    ):
        assert Recipe.of(given).arguments == Recipe.of(by_name).arguments
        assert Recipe.of(given).arguments[first] == 3
    run = dl.fit(functools.partial(toys.experiment, 3), run_dir=tmp_path / "run")
    assert dl.load(tmp_path / "run", functools.partial(toys.experiment, 3)).step == run.step
    with pytest.raises(UserError, match=f"load was given {first}=4"):
        dl.load(tmp_path / "run", functools.partial(toys.experiment, 4))
    with pytest.raises(UserError, match=f"given '{first}' twice"):
        dl.fit(functools.partial(toys.experiment, 3, **{first: 3}))
    with pytest.raises(UserError, match="and was given 99"):
        dl.fit(functools.partial(toys.experiment, *range(99)))


def test_what_is_no_experiment_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"3 is no experiment; give a dl\.Experiment"):
        dl.fit(3)
    with pytest.raises(UserError, match="no argument 'learnin_rate'; did you mean 'learning_rate'"):
        dl.fit(functools.partial(toys.experiment, learnin_rate=1.0))
    with pytest.raises(UserError, match="is no run directory"):
        dl.load(tmp_path)


def test_an_exported_prediction_loads_without_deeplab(trained, tmp_path):
    file = trained.export(tmp_path / "toy.stablehlo", batch_size=37)
    np.save(tmp_path / "points.npy", POINTS)
    code = f"""
import sys, numpy as np
from jax import export
program = export.deserialize(bytearray(open({str(file)!r}, "rb").read()))
out = program.call({{"image": np.load({str(tmp_path / "points.npy")!r})}})
np.savez({str(tmp_path / "out.npz")!r}, **out)
assert not [name for name in sys.modules if name.startswith(("deeplab", "flax", "optax"))]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    theirs = np.load(tmp_path / "out.npz")
    for name, ours in trained.predict(POINTS).items():
        np.testing.assert_allclose(theirs[name], ours, rtol=1e-6)


@pytest.mark.slow
def test_values_print_as_tables(trained):
    summary, plan = dl.summary(toys.experiment), dl.plan(toys.experiment)
    assert summary.num_params == plan.num_params == 76
    assert "76 parameters" in str(summary)
    assert "hidden" in summary._repr_html_()
    assert "a device holds" in str(plan)
    assert plan.flops >= plan.model_flops > 0


def test_an_experiment_that_returns_something_else():
    def wrong(width: int = 1):
        return None

    with pytest.raises(UserError, match=r"returned NoneType; an experiment returns a dl\.Experiment"):
        dl.fit(wrong)


def test_curves_are_a_data_frame(trained):
    curves = trained.curves
    assert set(curves.columns) >= {"step", "split", "loss", "accuracy"}
    assert curves[curves.split == "test"].accuracy.iloc[-1] == trained.metrics["test"]["accuracy"]


@pytest.mark.slow
def test_a_sweep_in_memory_is_the_sweep_on_disk(tmp_path):
    small = functools.partial(toys.experiment, steps=10)
    memory = dl.sweep(small, {"learning_rate": "1e-3..1e-1:2", "dropout": [0.0]}, seeds=2)
    disk = dl.sweep(small, {"learning_rate": [1e-3, 1e-1], "dropout": 0.0}, seeds=2, run_dir=tmp_path / "sweep")
    curves = [[(row["arguments"], row["seed"], row["curve"]) for row in found] for found in (memory, disk)]
    assert curves[0] == curves[1]
    assert (memory.trained, disk.trained, memory.directory) == (4, 4, None)
    assert disk.report.exists()
    again = dl.sweep(small, {"learning_rate": [1e-3, 1e-1], "dropout": 0.0}, seeds=2, run_dir=tmp_path / "sweep")
    assert again.trained == 0
    assert set(memory.best["setting"]) == {"learning_rate"}
    assert list(memory.frame.seed) == [0, 1, 0, 1]
    assert "learning_rate" in str(memory)
    with pytest.raises(UserError, match="no argument 'learning'; did you mean 'learning_rate'"):
        dl.sweep(small, {"learning": [1.0]})


def test_a_page_that_fails_keeps_the_result(tmp_path):
    """Hours of trainings end here: what they found is written before it is drawn."""
    question = dl.Study({"learning_rate": (1e-3,)}, len, lambda count: [][count])
    with pytest.raises(IndexError):
        dl.study(functools.partial(toys.experiment, steps=10), question, seeds=1, run_dir=tmp_path / "study")
    assert json.loads((tmp_path / "study/study.json").read_text(encoding="utf-8"))["summary"] == 1


@pytest.mark.slow
def test_a_study_is_a_function(tmp_path):
    question = dl.Study({"learning_rate": (1e-3, 1e-2)}, len, lambda count: [])
    answer = dl.study(functools.partial(toys.experiment, steps=10), question, seeds=2, run_dir=tmp_path / "study")
    assert (answer.summary, answer.trained, len(answer.rows)) == (4, 4, 4)
    assert answer.report.exists()
    with pytest.raises(UserError, match="learning_rate is an axis of the study"):
        dl.study(functools.partial(toys.experiment, learning_rate=1.0), question)
