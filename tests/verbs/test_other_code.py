"""Runs and other code: `load` tells what has changed, and other runs give first weights, by name and shape."""

import dataclasses
import functools
import itertools
import json
import shutil

import flax.linen as nn
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import CheckpointError, UserError
from deeplab.runs.identity.provenance import differences
from deeplab.train.initialize import with_weights
from deeplab.verbs.fit import Surroundings
from tests import toys


class Plain(nn.Module):
    width: int = 8
    second: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(self.width, name="hidden")(x))
        x = nn.Dense(8, name="second")(x) if self.second else x
        return nn.Dense(4, name="head")(x)


def made(width=8, second=False, optimizer=None, weights=()):
    return dataclasses.replace(
        toys.experiment(steps=4), model=Plain(width, second), optimizer=optimizer or optax.adam(0.1), weights=weights
    )


def first(width: int = 8, old: float = 0.5) -> dl.Experiment:
    return made(width)


def renamed(width: int = 8, fresh: str = "a") -> dl.Experiment:
    return made(width)


def wider(width: int = 8) -> dl.Experiment:
    return made(2 * width, second=True)


def other_optimizer(width: int = 8, old: float = 0.5) -> dl.Experiment:
    return made(width, optimizer=optax.sgd(0.1, momentum=0.9))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return dl.fit(first, run_dir=tmp_path_factory.mktemp("other") / "run")


def test_load_tells_what_has_changed(trained, tmp_path):
    with pytest.warns(UserWarning, match="has changed since it was trained") as caught:
        run = dl.load(trained.directory, renamed)
    (text,) = [str(one.message) for one in caught]
    assert "argument old=0.5 exists no more" in text
    assert "argument fresh is new, and 'a' here" in text
    assert toys.same(run.state, trained.state)
    assert dl.evaluate(run).metrics == trained.metrics["test"]


def test_load_names_the_sources_and_versions_that_differ(trained, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for path in trained.directory.iterdir():
        (copy / path.name).symlink_to(path)
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").unlink()
    name = next(iter(record["sources"]))
    record["sources"][name] = record["sources"]["gone.module"] = "0"
    record["versions"]["jax"] = "0.0.1"
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.warns(
        UserWarning, match=rf"(?s)\(jax\) +\"0\.0\.1\".*sources that differ: gone\.module \(gone\), {name}"
    ):
        dl.load(copy, first)


def test_of_many_sources_that_differ_some_are_named():
    old, new = {f"module{i:02}": "1" for i in range(40)}, {"module00": "1"}
    told = differences({"sources": old}, {"sources": new}, "", "")
    assert told.startswith("  sources that differ: module01 (gone), ")
    assert told.endswith("module12 (gone) and 27 more")


def test_parameters_that_do_not_fit_are_listed_in_one_error(trained):
    with pytest.raises(CheckpointError) as error, pytest.warns(UserWarning, match="old"):
        dl.load(trained.directory, wider)
    lines = str(error.value).splitlines()
    assert "  params/hidden/kernel: checkpoint (2, 8) float32, model (2, 16) float32" in lines
    assert "  params/second/bias: checkpoint no such leaf, model (8) float32" in lines
    assert any("more leaves, of the optimizer among them" in line for line in lines)
    assert not [line for line in lines if "opt_state" in line]


def test_another_optimizer_begins_anew(trained):
    with pytest.warns(UserWarning, match="of another optimizer, whose state begins anew"):
        run = dl.load(trained.directory, other_optimizer)
    assert toys.same(run.state.params, trained.state.params)
    assert (run.step, toys.same(run.state.key, trained.state.key)) == (4, True)
    assert dl.evaluate(run).metrics == trained.metrics["test"]


def warm(width: int = 8, second: bool = False, weights=()) -> dl.Experiment:
    return made(width, second, weights=weights)


def params_of(experiment):
    """Parameters before the first step."""
    state, *_ = toys.start(experiment)
    return with_weights(state, experiment.weights).params


def test_a_run_begins_with_the_weights_of_another(trained):
    params = params_of(warm(weights=dl.weights_of(trained.directory, "last")))
    assert toys.same(params, trained.state.params)
    params = params_of(warm(weights=dl.weights_of(trained, "last", skip=["^head/"])))
    assert toys.same(params["hidden"], trained.state.params["hidden"])
    assert toys.same(params["head"], params_of(made())["head"])
    params = params_of(warm(second=True, weights=dl.weights_of(trained, path="params/hidden")))
    assert toys.same(params["hidden"], trained.state.params["hidden"])
    params = params_of(
        warm(second=True, weights=dl.weights_of(trained, 4, path="params/second", of="params/hidden", skip=["kernel"]))
    )
    assert toys.same(params["second"]["bias"], trained.state.params["hidden"]["bias"])
    with pytest.raises(UserError, match=r"holds nothing under 'params/body'; it holds params/head, params/hidden"):
        dl.weights_of(trained, "last", path="params/body")
    with pytest.raises(CheckpointError, match=r"has no checkpoint 3; it has those of steps \[4\]"):
        dl.weights_of(trained, 3)
    assert dl.weights_of(trained, np.int64(4)).digest == dl.weights_of(trained, 4).digest


@pytest.mark.parametrize("checkpoint", ["bset", "4", 4.0, True, None])
def test_what_names_no_checkpoint_is_refused(trained, checkpoint):
    """It gave the last one."""
    with pytest.raises(UserError, match="expected 'best', 'last', or the step"):
        dl.weights_of(trained, checkpoint)


def test_the_last_checkpoint_that_stands_for_the_best_is_told(tmp_path, capsys):
    """It was called the best one."""
    go = functools.partial(toys.experiment, steps=4000)
    calls = itertools.count()
    stopped = Surroundings(stop=lambda: next(calls) >= 1, exit_code=lambda: 130)
    run = dl.fit(go, run_dir=tmp_path / "run", surroundings=stopped, log_every=10)
    assert 0 < run.step < 4000
    told = pytest.warns(UserWarning, match=f"none is the best: the last, of step {run.step:,}, stands for it")
    with told:
        assert dl.load(run.directory, checkpoint="best").step == run.step
    with told:
        assert dl.weights_of(run).source.endswith(f"/{run.step}")
    with told:
        dl.main(toys.experiment, ["eval", "--checkpoint", "best", "--steps", "4000", "--run-dir", str(run.directory)])
    assert "(last checkpoint)" in capsys.readouterr().out


def test_weights_that_do_not_fit_are_listed_in_one_error(trained):
    with pytest.raises(UserError) as error:
        params_of(warm(16, True, dl.weights_of(trained.directory, "last")))
    assert str(error.value).splitlines()[1:] == [
        "  hidden/bias: checkpoint (8) float32, model (16) float32",
        "  hidden/kernel: checkpoint (2, 8) float32, model (2, 16) float32",
        "  second/bias: checkpoint no such leaf, model (8) float32",
        "  second/kernel: checkpoint no such leaf, model (16, 8) float32",
        "Give skip= regular expressions of those that start anew",
    ]


def from_other(folder: str = "") -> dl.Experiment:
    return made(weights=dl.weights_of(folder, "last"))


def test_the_weights_belong_to_the_run(trained, tmp_path):
    """Another run in the same folder is told by its content; the same content elsewhere is the same."""
    shutil.copytree(trained.directory, tmp_path / "source")
    go = functools.partial(from_other, folder=str(tmp_path / "source"))
    (kept,) = dl.fit(go, run_dir=tmp_path / "run").record["weights"]
    assert (kept["path"], len(kept["digest"])) == ("params", 64)
    assert dl.weights_of(trained.directory).digest == kept["digest"]
    record = json.loads((tmp_path / "run/run.json").read_text())
    record["weights"][0]["digest"] = "that of another"
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"\(weights\).*digest"):
        dl.fit(go, run_dir=tmp_path / "run")
