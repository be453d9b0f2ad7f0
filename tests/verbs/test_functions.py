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
from deeplab.search.setup import Stopped
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.study import members
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
        (POINTS[:0], "was given no example"),
        ({"image": 3.0}, r"image=3\.0, expected an array of examples"),
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


def test_the_directory_of_a_sweep_is_told_as_one(tmp_path):
    record = {"experiment": "toys", "arguments": {"verb": "sweep", "width": "4,8"}, "seed": 0, "task": "sweep"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="holds the many runs of a sweep, whose states are not kept; train one of them"):
        dl.load(tmp_path)


def test_the_folder_of_a_loaded_run_stays_when_the_current_one_changes(trained, tmp_path, monkeypatch):
    """Its evaluation raised a FileNotFoundError."""
    monkeypatch.chdir(trained.directory.parent)
    run = dl.load("run")
    monkeypatch.chdir(tmp_path)
    assert run.record["seed"] == 3


def test_the_home_folder_of_a_run_directory_is_found(trained, tmp_path, monkeypatch):
    """A folder of the name ~ was made."""
    monkeypatch.setenv("HOME", str(trained.directory.parent))
    monkeypatch.chdir(tmp_path)
    assert dl.load("~/run").directory == trained.directory
    assert dl.weights_of("~/run", "last").source.startswith(str(trained.directory))
    assert dl.fit(toys.experiment, run_dir="~/run", seed=3).directory == trained.directory
    assert dl.main(toys.experiment, ["eval", "--seed", "3", "--run-dir=~/run"])["run_dir"] == trained.directory
    with pytest.raises(UserError, match="with other settings"):
        dl.sweep(toys.experiment, {"learning_rate": [0.1, 0.2]}, run_dir="~/run")
    with pytest.raises(UserError, match="with other settings"):
        dl.study(toys.experiment, dl.Study({"learning_rate": (0.1, 0.2)}), run_dir="~/run")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["precision", "accumulate", "smoke"])
def test_an_argument_that_is_called_as_a_flag_is_refused(name):
    """Such a run was trained, and its argument lost where it was loaded."""
    made = {}
    exec(f"def experiment({name}: int = 1): ...", made)
    with pytest.raises(UserError, match=rf"the arguments \['{name}'\] are flags of every experiment"):
        Recipe.of(made["experiment"])


@pytest.mark.parametrize(("path", "text"), [("no/a.stablehlo", "there is no folder"), (".", "is a folder")])
def test_an_export_that_cannot_be_written_is_refused_before_it_compiles(trained, tmp_path, monkeypatch, path, text):
    monkeypatch.setattr("jax.export.export", lambda *args, **kwargs: pytest.fail("it compiles"))
    with pytest.raises(UserError, match=text):
        trained.export(tmp_path / path)


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


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"stepz": (4, 8)}, "no argument 'stepz'; did you mean 'steps'"),
        ({"steps": ()}, "steps of a sweep is given no value"),
        ({"steps": "4,a"}, "steps: 'a' is no integer"),
    ],
)
def test_axes_of_a_study_that_are_none_are_refused(axes, message):
    """They raised a KeyError, a StopIteration, or took each letter for a value."""
    with pytest.raises(UserError, match=message):
        dl.study(toys.experiment, dl.Study(axes), seeds=1)


def test_axes_of_a_study_are_those_of_a_sweep():
    recipe = Recipe.of(toys.experiment)
    given = [(4, 8), np.array([4, 8]), "4,8", 4]
    values = [[m.arguments["steps"] for m in members(dl.Study({"steps": axis}), recipe, 1)] for axis in given]
    assert values == [[4, 8], [4, 8], [4, 8], [4]]


@pytest.mark.parametrize(
    "call",
    [
        functools.partial(dl.sweep, toys.experiment, {"learning_rate": [0.1, 0.2]}),
        functools.partial(dl.study, toys.experiment, dl.Study({"learning_rate": (0.1, 0.2)})),
        functools.partial(dl.compare, {"a": toys.experiment, "b": functools.partial(toys.experiment, steps=8)}),
    ],
    ids=["sweep", "study", "compare"],
)
def test_seeds_that_many_contradicts_are_refused(call):
    """They were dropped without a word."""
    with pytest.raises(UserError, match="seeds=3 and Many\\(seeds=1\\) were given, which differ"):
        call(seeds=3, many=dl.Many(execution="serial"))


def test_a_study_goes_on_with_its_own_measurement_alone(tmp_path, monkeypatch):
    """Old numbers were told under the name of the new split."""

    def make_loss(experiment, runtime):
        return dl.make_eval(experiment, runtime)

    def made(asked, *_):
        for group in asked:
            yield [
                {"arguments": dict(m.arguments), "seed": m.seed, "curve": [], "seconds": 1.0, "steps": 20, "first": {},
                 "last": {}, "best": {}, "diverged": False, "stopped": False}
                for m in group.members
            ]  # fmt: skip

    monkeypatch.setattr("deeplab.search.sweep.run", made)
    ask = functools.partial(dl.Study, {"learning_rate": (0.1, 0.2)}, len, lambda count: [])
    go = functools.partial(dl.study, toys.experiment, seeds=1, run_dir=tmp_path / "s")
    assert go(ask()).trained == 2
    for other, name in ((ask(split="train"), "split"), (ask(probe=make_loss), "probe")):
        with pytest.raises(UserError, match=f"\\({name}\\)"):
            go(other)
    record = json.loads((tmp_path / "s/run.json").read_text())
    del record["measured"]  # as in earlier versions
    (tmp_path / "s/run.json").write_text(json.dumps(record))
    with pytest.warns(UserWarning, match="did not record what a study measures"):
        assert go(ask()).trained == 0
    assert go(ask()).trained == 0


def test_more_seeds_after_an_interrupt_keep_what_is_saved(tmp_path, monkeypatch):
    """The states of all unfinished runs were deleted: first they are finished, and then the new ones made."""
    sets, saved = [], tmp_path / "run/members/part/5"

    def stop(asked, *_):
        saved.mkdir(parents=True)
        raise Stopped("step 5")
        yield

    def made(asked, *_):
        sets.append(({m.seed for group in asked for m in group.members}, saved.exists()))
        for group in asked:
            yield [
                {"arguments": dict(m.arguments), "seed": m.seed, "seconds": 1.0, "steps": 20, "diverged": False,
                 "stopped": False, "rungs": [], "curve": [{"step": 20, "evaluation": {"loss": 1.0, "accuracy": 1.0}}],
                 "num_params": 1, "compiled": [], "execution": "serial"}
                for m in group.members
            ]  # fmt: skip

    def go(seeds, run):
        monkeypatch.setattr("deeplab.search.sweep.run", run)
        return dl.sweep(toys.experiment, {"learning_rate": [0.1, 0.2]}, seeds=seeds, run_dir=tmp_path / "run")

    assert not go(1, stop).summary
    assert len(go(3, made)) == 6
    assert sets == [({0}, True), ({1, 2}, False)]
    assert not go(5, stop).summary
    with pytest.warns(UserWarning, match=r"is kept in .*members\.old-1; to finish them, name that members again"):
        assert len(go(4, made)) == 8
    assert (tmp_path / "run/members.old-1/part/5").exists()


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
