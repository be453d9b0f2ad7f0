"""The verbs, in this process, on the toy: train, go on, evaluate, report, refuse."""

import dataclasses
import json
import os
import shutil
import signal
import threading
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import CheckpointError, Diverged, UserError
from deeplab.report import record as report_record
from tests import toys


def run(tmp_path, *argv, function=toys.experiment):
    return dl.main(function, [*argv, "--run-dir", str(tmp_path / "run")])


def rows(tmp_path):
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    clock = ("seconds", "steps_per_second", "stalled")
    return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in lines]


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A run that is trained once for all tests: its folder, and what training gave."""
    folder = tmp_path_factory.mktemp("once")
    return folder, run(folder, "train")


@pytest.fixture
def trained(once, tmp_path):
    """What training gave; a copy of the run is this test's own."""
    shutil.copytree(once[0] / "run", tmp_path / "run")
    return once[1]


def test_train_leaves_a_record(tmp_path):
    result = run(tmp_path, "train", "--seed", "1")
    directory = tmp_path / "run"
    assert result["steps"] == 20
    assert set(result["metrics"]["test"]) == {"loss", "accuracy"}
    manifest = json.loads((directory / "run.json").read_text())
    assert manifest["arguments"]["learning_rate"] == 1e-2
    assert manifest["seed"] == 1
    assert manifest["num_params"] == 76
    assert (directory / "source.py").read_text().startswith('"""A small experiment')
    assert list((directory / "tensorboard").iterdir())
    with np.load(directory / "predictions.npz") as predictions:
        accuracy = float(np.mean(predictions["label"] == predictions["prediction"]))
    assert accuracy == pytest.approx(result["metrics"]["test"]["accuracy"])
    page = (directory / "report.html").read_text()
    assert "--run-dir" in page
    assert "tests.toys" in page
    assert report_record.read(directory).record["task"] == "Classification"


def test_eval_gives_what_training_gave(tmp_path, trained):
    for which in ("last", "best"):
        result = run(tmp_path, "eval", "--checkpoint", which)
        assert which == "best" or result["metrics"] == trained["metrics"]["test"]


def test_eval_on_the_training_split_is_one_pass_without_jitter(tmp_path, trained):
    found = run(tmp_path, "eval", "--split", "train")
    arrays = toys.Toy().open("train").arrays
    predicted = dl.load(tmp_path / "run").predict(arrays["image"])["prediction"]
    assert found["metrics"]["accuracy"] == pytest.approx(np.mean(predicted == arrays["label"]), abs=1e-6)
    assert dl.evaluate(tmp_path / "run", split="train").metrics == found["metrics"]


def test_a_finished_run_is_not_trained_again(tmp_path, trained):
    before = rows(tmp_path)
    again = run(tmp_path, "train")
    assert again["resumed_from"] == 20
    assert again["metrics"] == trained["metrics"]
    assert rows(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, number, capsys):
    """Row 16: the exit code is the signal's, and the end is that of an undisturbed run."""
    flags = ["train", "--steps", "4000"]
    dl.main(toys.experiment, [*flags, "--run-dir", str(tmp_path / "straight")])

    def interrupt():
        while not (tmp_path / "run/metrics.jsonl").exists() or not rows(tmp_path):
            time.sleep(0.001)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    stopped = run(tmp_path, *flags)
    assert stopped["stopped"] == 128 + number
    assert 0 < stopped["steps"] < 4000
    assert "--steps 4000" in capsys.readouterr().out
    end = run(tmp_path, *flags)
    assert end["resumed_from"] == stopped["steps"]
    straight = [json.loads(line)["loss"] for line in (tmp_path / "straight/metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows(tmp_path)] == straight


def exploding(learning_rate: float = 1.0, steps: int = 20) -> dl.Experiment:
    """The logarithm of a negative number, after a while."""
    exp = toys.experiment(steps=steps)

    class Log(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            bound = self.param("bound", nn.initializers.ones, (4,))
            return jnp.log(bound)[None] + nn.Dense(4, name="head")(x)

    # Each step lowers every bound by a twentieth, and so it is zero, and its logarithm -inf, at the end.
    return dataclasses.replace(
        exp,
        model=Log(),
        optimizer=optax.GradientTransformation(
            lambda params: optax.EmptyState(),
            lambda grads, state, params: (jax.tree.map(lambda g: jnp.full_like(g, -learning_rate / 8), grads), state),
        ),
    )


def test_a_nan_is_explained_and_loses_nothing(tmp_path):
    """Row 11: exit code 4, the step, the layer and the primitive; the last checkpoint and the failed step are kept."""
    with pytest.raises(Diverged, match=r"training step 9 is not finite.*primitive `log`") as caught:
        run(tmp_path, "train", "--checkpoint-every", "4", function=exploding)
    assert caught.value.exit_code == 4
    report = json.loads((tmp_path / "run/failure/report.json").read_text())
    assert (report["step"], report["primitive"]) == (9, "log")
    assert (tmp_path / "run/failure/state").is_dir()
    assert any(path.name.isdigit() for path in (tmp_path / "run/checkpoints").iterdir())


def test_other_arguments_are_refused_with_the_difference(tmp_path, trained):
    """Row 25."""
    with pytest.raises(UserError, match=r"(?s)learning_rate.*0\.01.*0\.5"):
        run(tmp_path, "train", "--learning-rate", "0.5")
    with pytest.warns(UserWarning, match="other settings"):
        run(tmp_path, "train", "--learning-rate", "0.5", "--allow-change")


def test_fresh_begins_anew_and_keeps_the_old(tmp_path, trained):
    again = run(tmp_path, "train", "--fresh", "--learning-rate", "0.5")
    assert again["resumed_from"] is None
    assert (tmp_path / "run.old-1/report.html").exists()


def test_a_batch_that_does_not_divide_names_those_that_do(tmp_path):
    """Row 28: before anything is written."""
    with pytest.raises(UserError, match=r"--batch-size 20 is not a multiple of the 8 devices.*use 16 or 24"):
        run(tmp_path, "train", "--batch-size", "20", "--mesh", "data=8")
    assert not (tmp_path / "run").exists()


def test_a_mesh_larger_than_the_machine(tmp_path):
    """Row 27."""
    with pytest.raises(UserError, match="needs 16 devices, and there are 8"):
        run(tmp_path, "train", "--mesh", "data=16")
    assert not (tmp_path / "run").exists()


def test_eval_without_a_checkpoint_says_how_to_get_one(tmp_path):
    with pytest.raises(CheckpointError, match=r"train first"):
        run(tmp_path, "eval")


def test_json_is_the_last_line(tmp_path, capsys):
    run(tmp_path, "train", "--smoke", "--json")
    result = json.loads(capsys.readouterr().out)
    assert {"run_dir", "metrics", "seconds", "steps"} <= set(result)
    assert result["steps"] == 4
