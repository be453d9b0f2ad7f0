"""Laws of the tasks of generative models: they learn, resume, are swept and are sharded as every task is."""

import functools
import shutil

import jax
import numpy as np
import pytest

import deeplab as dl
from deeplab import scale
from deeplab.train.initialize import init
from deeplab.train.step import make_step
from tests import toys
from tests.contracts.test_contracts import train
from tests.generate.members import MEMBERS, experiment


def every(*quick):
    """All members, of which only some are run every day."""
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in MEMBERS]
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A member's run without a stop, made once, and the folder of its checkpoints."""
    folder = tmp_path_factory.mktemp("generative")
    return functools.cache(lambda name: (train(experiment(name), folder / name), folder / name))


@every("ddpm")
def test_learns(name, straight):
    run, _ = straight(name)
    assert all(np.isfinite(list(run.last.values())))
    metric, share = MEMBERS[name].metric, MEMBERS[name].share
    assert run.last[metric] < share * run.first[metric]


@every("ddpm")
def test_resumes_bit_by_bit(name, straight, tmp_path):
    """A run that was killed after its first evaluation comes to the same end as the one that was not."""
    run, directory = straight(name)
    first = str(MEMBERS[name].steps // 2)
    shutil.copytree(directory / first, tmp_path / first)
    again = train(experiment(name), tmp_path)
    assert toys.same(again.state, run.state)
    assert again.last == run.last


@every()
def test_a_member_of_a_sweep_is_its_solo_run(name, straight):
    run, _ = straight(name)
    rows = dl.sweep(functools.partial(experiment, name=name), {"learning_rate": [3e-3, 6e-3]})
    assert rows[0]["curve"][-1]["evaluation"] == pytest.approx(run.last, rel=1e-3)
    assert rows[1]["curve"][-1]["evaluation"] != pytest.approx(run.last, rel=1e-3)


def curve(name, shape, steps=3):
    """The losses of the first steps on a mesh."""
    made, mesh = experiment(name), scale.make_mesh(shape)
    state = jax.jit(functools.partial(init, made))(jax.random.key(0))
    places = scale.state_shardings(state, made.sharding_rules, mesh)
    source, losses = made.data.open("train"), []
    with jax.set_mesh(mesh):
        state, step = jax.device_put(state, places), jax.jit(make_step(made), out_shardings=(places, None))
        for i in range(steps):
            batch = made.data.fetch(source, made.data.train_ids(0, i)[0])
            state, metrics = step(state, jax.device_put(batch, scale.batch_sharding(mesh)))
            losses.append(metrics["loss"].compute())
    return losses


@every("coupled_flow")
def test_sharded_is_the_single_device(name):
    np.testing.assert_allclose(curve(name, "data=4,fsdp=2"), curve(name, "data=1"), rtol=1e-5)
