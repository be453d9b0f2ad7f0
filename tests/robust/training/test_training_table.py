"""Every wrapper on every task for which it is defined trains, resumes bit by bit, is swept and sharded."""

from __future__ import annotations

import functools
import shutil
from typing import Any

import jax
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.train.step import make_eval
from tests import toys
from tests.contracts.test_contracts import train
from tests.robust.training.members import DEFINED, KINDS, REASONS, experiment_of

TABLE = [(wrapper, kind) for wrapper, kinds in DEFINED.items() for kind in kinds]


def every(*quick: tuple[str, str]) -> Any:
    """The whole table, of which only some are run every day."""
    return pytest.mark.parametrize(
        ("wrapper", "kind"), [p if p in quick else pytest.param(*p, marks=pytest.mark.slow) for p in TABLE]
    )


def begun(experiment: dl.Experiment, mesh: Any = None) -> tuple[Any, Any, list[Any]]:
    step = jax.jit(dl.make_step(experiment))
    return step, jax.jit(functools.partial(dl.init, experiment))(jax.random.key(0)), [*experiment.data.batches("train")]


@every(("trades", "clinical"))
def test_trains_and_resumes_bit_by_bit(wrapper, kind):
    experiment = experiment_of(wrapper, kind)()
    step, state, batches = begun(experiment)
    evaluate = jax.jit(make_eval(experiment))
    before, states = evaluate(state, batches[0]), [state]
    for batch in batches:
        states.append(step(states[-1], batch)[0])
    after = evaluate(states[-1], batches[0])
    assert after["loss"].compute() < before["loss"].compute()
    assert all(np.isfinite(metric.compute()) for metric in after.values())
    middle = len(batches) // 2
    again = jax.tree.map(jax.numpy.copy, states[middle])
    for batch in batches[middle:]:
        again, _ = step(again, batch)
    assert toys.same(again, states[-1])


@every(("sam", "regression"))
def test_a_member_of_a_population_is_its_solo_run(wrapper, kind):
    function = experiment_of(wrapper, kind, optax.sgd, num_steps=3)
    batches = jax.tree.map(lambda *rows: np.stack(rows), *function().data.batches("train"))

    def losses(rate: Any) -> Any:
        experiment = function(rate)

        def step(state: Any, batch: Any) -> Any:
            state, metrics = dl.make_step(experiment)(state, batch)
            return state, metrics["loss"].total / metrics["loss"].count

        return jax.lax.scan(step, dl.init(experiment, jax.random.key(0)), batches)[1]

    rates = jax.numpy.array([1e-2, 5e-2])
    together, alone = jax.jit(jax.vmap(losses))(rates), jax.jit(losses)
    # This attack takes signs: parameters that differ by 1e-7 turn one of BYOL's, and move its losses by 1.2 %.
    rtol = 2e-2 if (wrapper, kind) == ("adversarial", "byol") else 1e-4
    np.testing.assert_allclose(together, np.stack([alone(rate) for rate in rates]), rtol=rtol)
    assert not np.allclose(together[0], together[1], rtol=1e-5)


@every(("dro", "classification"))
def test_sharded_is_one_device(wrapper, kind):
    """The loss of a batch that ends in padding, and the parameters after a step."""
    experiment, told = experiment_of(wrapper, kind, optax.sgd)(), []
    _, state, _ = begun(experiment)
    batch = next(experiment.data.batches("train")) | {"weight": (np.arange(16) < 13).astype(np.float32)}
    for mesh in ("data=1", "data=8"):
        grid = dl.scale.make_mesh(mesh)
        with jax.set_mesh(grid):
            step = jax.jit(dl.make_step(experiment))
            rows = jax.sharding.NamedSharding(grid, jax.sharding.PartitionSpec("data"))
            after, metrics = step(state, jax.device_put(batch, rows))
        told.append((metrics["loss"].compute(), jax.device_get((after.params, after.task))))
    assert told[1][0] == pytest.approx(told[0][0], rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), told[0][1], told[1][1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*the embeddings have collapsed")  # BYOL's may, in twelve steps beside an adversary
@pytest.mark.parametrize(
    ("wrapper", "kind"),
    [
        ("dro", "multilabel"),
        ("adversarial", "segmentation"),
        ("growing", "ctc"),
        ("fast", "byol"),
        ("free", "classification"),
    ],
)
def test_the_loop_resumes_bit_by_bit_and_sweeps(wrapper, kind, tmp_path):
    """The whole way: checkpoints, evaluations, and a population."""
    function = experiment_of(wrapper, kind)
    run = train(function(), tmp_path / "straight")
    shutil.copytree(tmp_path / "straight/6", tmp_path / "again/6")
    again = train(function(), tmp_path / "again")
    assert toys.same(again.state, run.state)
    assert again.last == run.last
    rows = dl.sweep(function, {"learning_rate": [2e-2, 4e-2]})
    assert rows[0]["curve"][-1]["evaluation"] == pytest.approx(run.last, rel=1e-3)
    assert rows[1]["curve"][-1]["evaluation"] != pytest.approx(run.last, rel=1e-3)


@pytest.mark.parametrize(
    ("wrapper", "kind"), [(wrapper, kind) for wrapper in DEFINED for kind in KINDS if kind not in DEFINED[wrapper]]
)
def test_elsewhere_it_is_an_error_that_names_the_reason(wrapper, kind):
    experiment = experiment_of(wrapper, kind)()
    state = jax.eval_shape(functools.partial(dl.init, experiment), jax.random.key(0))
    with pytest.raises(UserError, match=REASONS[wrapper, kind]):
        jax.eval_shape(dl.make_step(experiment), state, dict(experiment.data.spec()))
