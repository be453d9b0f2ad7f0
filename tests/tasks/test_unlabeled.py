"""Laws of every task without labels: it learns, resumes bit by bit, is swept, and does not depend on the devices."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from typing import Any

import jax
import numpy as np
import optax
import pytest

import deeplab as dl
from tests import toys
from tests.contracts.test_contracts import Straight, train
from tests.tasks.unlabeled_members import MEMBERS, experiment_of


def every(*quick: str) -> Any:
    """All members, of which only some are run every day."""
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in MEMBERS]
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabeled")

    @functools.cache
    def run(name: str) -> tuple[Straight, Any]:
        return train(experiment_of(name)(), folder / name), folder / name

    return run


@every("byol")
def test_trains_without_a_collapse(name, straight):
    run, _ = straight(name)
    assert all(np.isfinite(list(run.last.values())))
    assert run.last["loss"] < 0.98 * run.first["loss"]
    assert MEMBERS[name].task.warnings(run.last) == ()


@every("byol")
def test_resumes_bit_by_bit(name, straight, tmp_path):
    run, directory = straight(name)
    experiment = experiment_of(name)()
    shutil.copytree(directory / str(experiment.cadence), tmp_path / str(experiment.cadence))
    again = train(experiment, tmp_path)
    assert toys.same(again.state, run.state)
    assert again.last == run.last
    assert again.rows == {step: row for step, row in run.rows.items() if step > experiment.cadence}


@every()
def test_a_member_of_a_sweep_is_its_solo_run(name, tmp_path):
    """By plain gradients: Adam makes rounding as large as a step where a gradient is 0, as before a batch norm."""
    experiment = experiment_of(name, 6, optax.sgd)
    run = train(experiment(), tmp_path)
    rows = dl.sweep(experiment, {"learning_rate": [3e-3, 6e-3]})
    assert rows[0]["curve"][-1]["evaluation"] == pytest.approx(run.last, rel=1e-3, abs=1e-4)
    assert rows[1]["curve"][-1]["evaluation"]["loss"] != pytest.approx(run.last["loss"], rel=1e-5)


def stepped(name: str, mesh: str, accumulate: int = 1) -> tuple[float, Any]:
    """The loss of a batch that ends in padding, and the parameters after a step, on a mesh."""
    experiment, runtime = experiment_of(name)(), dl.Runtime(accumulate=accumulate)
    experiment = dataclasses.replace(experiment, optimizer=optax.sgd(1e-2))  # Adam would turn rounding into signs
    grid = dl.scale.make_mesh(mesh)
    batch = next(experiment.data.batches("train")) | {"weight": (np.arange(64) < 60).astype(np.float32)}
    with jax.set_mesh(grid):
        state = jax.jit(functools.partial(dl.init, experiment))(jax.random.key(0))
        rows = jax.sharding.NamedSharding(grid, jax.sharding.PartitionSpec("data"))
        after, metrics = jax.jit(dl.make_step(experiment, runtime))(state, jax.device_put(batch, rows))
    return metrics["loss"].compute(), jax.device_get(after.params)


@every("vicreg")
def test_the_loss_over_pairs_is_that_of_one_device_and_of_a_microbatch_another(name):
    (one, params), (eight, sharded) = stepped(name, "data=1"), stepped(name, "data=8")
    assert eight == pytest.approx(one, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), params, sharded)
    parts, _ = stepped(name, "data=1", accumulate=2)
    assert (parts == pytest.approx(one, rel=1e-5)) == (not MEMBERS[name].pairs)
