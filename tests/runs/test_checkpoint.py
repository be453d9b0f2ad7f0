"""What is saved is loaded bit by bit, on any mesh; what is kept are the newest and the best."""

import dataclasses
import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from deeplab.core.errors import CheckpointError, UserError
from deeplab.core.monitor import Monitor
from deeplab.runs import checkpoint, snapshot, storage
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.fingerprint import fingerprints
from deeplab.train.initialize import init
from tests import toys


def make_state(seed=0, size=8):
    key = jax.random.key(seed)
    params = {"dense": {"kernel": jax.random.normal(key, (size, 4)), "bias": jnp.zeros(4, jnp.bfloat16)}}
    return {
        "step": jnp.int32(seed),
        "params": params,
        "variables": {},
        "opt_state": optax.adam(1e-3).init(params),
        "key": key,
        "mask": jnp.array([True, False]),
    }


def abstract(tree, sharding=None):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), tree)


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert [str(x.dtype) for x in jax.tree.leaves(a)] == [str(x.dtype) for x in jax.tree.leaves(b)]
    assert fingerprints(a) == fingerprints(b)


def test_round_trip(tmp_path):
    state = make_state(3)
    extra = {"seconds": 0.1 + 0.2, "metrics": [1.0, float("inf")], "name": "café"}
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest(state) is None
        assert checkpoints.save(3, state, extra=extra)
        loaded, loaded_extra = checkpoints.latest(abstract(state))
    assert_same_bits(loaded, state)
    assert loaded_extra == extra
    np.testing.assert_array_equal(jax.random.bits(loaded["key"]), jax.random.bits(state["key"]))


@pytest.mark.parametrize("room", [True, False])
def test_the_state_may_be_donated_at_once(tmp_path, monkeypatch, room):
    monkeypatch.setattr(checkpoint, "fits_twice", lambda state: room)
    state = make_state(1, size=512)
    expected = fingerprints(state)

    @functools.partial(jax.jit, donate_argnums=0)
    def change(tree):  # reads each element and writes another, into the donated buffer
        return jax.tree.map(lambda x: x if x.ndim == 0 else ~x if x.dtype == bool else x + 1, tree)

    change(make_state(2, size=512))  # compiled: the donation follows the save at once
    with Checkpoints(tmp_path) as checkpoints, jax.transfer_guard("disallow"):
        checkpoints.prepare(state)
        checkpoints.save(1, state)
        state = change(state)
        loaded, _ = checkpoints.latest(abstract(state))
    assert fingerprints(loaded) == expected != fingerprints(state)


def test_loads_onto_another_mesh(tmp_path):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    state = make_state()
    layouts = [P(), P("data"), P(None, "model"), P(("data", "model"))]
    for step, spec in enumerate(layouts):
        where = [NamedSharding(mesh, spec if x.shape[:1] == (8,) else P()) for x in jax.tree.leaves(state)]
        placed = jax.device_put(state, jax.tree.unflatten(jax.tree.structure(state), where))
        copy, _ = snapshot.copied(placed)
        assert jax.tree.map(lambda x: x.sharding, copy) == jax.tree.map(lambda x: x.sharding, placed)
        other = NamedSharding(mesh, P())
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(step, placed)
            loaded, _ = checkpoints.latest(abstract(state, other))
            back, _ = checkpoints.latest(abstract(placed))
        assert_same_bits(loaded, state)
        assert all(x.sharding.is_equivalent_to(other, x.ndim) for x in jax.tree.leaves(loaded))
        assert_same_bits(back, state)
        assert jax.tree.map(lambda x: x.sharding, back) == jax.tree.map(lambda x: x.sharding, placed)


SMALL = {"step": jnp.int32(0), "w": jnp.arange(3.0)}


def run(checkpoints, values, start=0):
    """Saves at each step with the value as the loss, and waits."""
    for step, loss in enumerate(values, start):
        checkpoints.save(step, SMALL, metrics=None if loss is None else {"loss": loss, "accuracy": -loss})
        checkpoints.wait()


@pytest.mark.parametrize("monitor", [Monitor(), Monitor("accuracy", "max")])
def test_keeps_the_newest_and_the_best(tmp_path, monitor):
    with Checkpoints(tmp_path, keep=2, best=monitor, keep_best=2) as checkpoints:
        run(checkpoints, [3.0, 1.0, 2.0, 2.5, None, 4.0])
        assert checkpoints.steps() == [1, 2, 4, 5]
        assert checkpoints.best() == 1
    with Checkpoints(tmp_path, keep=1, best=monitor) as reopened:  # scores are read from disk
        assert reopened.best() == 1
        run(reopened, [0.5], start=6)
        assert reopened.best() == 6
        assert reopened.steps() == [6]


def test_without_a_metric_only_the_newest_stay(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        run(checkpoints, [1.0, 2.0])
        assert checkpoints.steps() == [1]
        assert checkpoints.best() is None


def test_resuming_from_an_earlier_step_gives_up_the_later(tmp_path):
    with Checkpoints(tmp_path, keep=3, best=Monitor()) as checkpoints:
        run(checkpoints, [3.0, 2.0, 0.1])
    with Checkpoints(tmp_path, keep=3, best=Monitor()) as resumed:
        resumed.load(0, SMALL)
        resumed.save(1, SMALL | {"w": jnp.zeros(3)}, metrics={"loss": 1.0})
        resumed.wait()
        assert resumed.steps() == [0, 1]
        assert resumed.best() == 1
        np.testing.assert_array_equal(resumed.load(1, SMALL)[0]["w"], np.zeros(3))


def test_a_new_run_does_not_replace_checkpoints_that_it_never_read(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        run(checkpoints, [1.0, 2.0])
    with Checkpoints(tmp_path) as other, pytest.raises(CheckpointError, match=r"holds \[0, 1\]: load one before"):
        other.save(0, SMALL)
    assert checkpoints.steps() == [0, 1]


def test_while_one_is_under_way_others_are_left_out_unless_they_matter(tmp_path, monkeypatch):
    """Matrix row 41."""
    gate, write = threading.Event(), storage.write
    monkeypatch.setattr(storage, "write", lambda *args, **kwargs: gate.wait(30) and write(*args, **kwargs))
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        assert checkpoints.save(1, SMALL)
        assert not checkpoints.save(2, SMALL)
        threading.Timer(0.1, gate.set).start()
        assert checkpoints.save(3, SMALL, metrics={"loss": 1.0})
        assert checkpoints.save(4, SMALL, force=True)
        assert checkpoints.save(4, SMALL | {"w": jnp.zeros(3)}, force=True)  # the first save of a step counts
    assert checkpoints.steps() == [1, 3, 4]
    np.testing.assert_array_equal(checkpoints.load(4, SMALL)[0]["w"], SMALL["w"])


def test_casts_on_request_only(tmp_path):
    state = {"w": jnp.linspace(0, 1, 5), "n": jnp.int32(1)}
    wanted = {"w": jax.ShapeDtypeStruct((5,), jnp.bfloat16), "n": jax.ShapeDtypeStruct((), jnp.int32)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, state)
        with pytest.raises(CheckpointError, match=r"w: checkpoint \(5\) float32, model \(5\) bfloat16"):
            checkpoints.latest(wanted)
        loaded, _ = checkpoints.latest(wanted, cast=True)
        assert_same_bits(loaded, state | {"w": state["w"].astype(jnp.bfloat16)})
        with pytest.raises(CheckpointError, match="n: checkpoint"):
            checkpoints.latest(wanted | {"n": jax.ShapeDtypeStruct((), jnp.int8)}, cast=True)


def test_what_is_given_wrongly_fails_at_once(tmp_path):
    with Checkpoints(tmp_path, best=Monitor("los")) as checkpoints:
        with pytest.raises(UserError, match="did you mean 'loss'"):
            checkpoints.save(0, SMALL, metrics={"loss": 1.0})
        with pytest.raises(TypeError, match="JSON"):
            checkpoints.save(0, SMALL, extra={"array": {1j}})
        with pytest.raises(CheckpointError, match="no checkpoint of step 5"):
            checkpoints.load(5, SMALL)
    with pytest.raises(UserError, match="keep=0"):
        Checkpoints(tmp_path, keep=0)


def test_a_failure_does_not_hide_the_error_that_came_first(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk on fire")

    monkeypatch.setattr(storage, "write", fail)
    failed = Checkpoints(tmp_path)
    failed.save(0, SMALL)
    with pytest.warns(UserWarning, match="disk on fire"):
        failed.wait()
    with pytest.raises(CheckpointError, match="disk on fire"):  # not forgotten
        failed.close()

    def stop():
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(0, SMALL)
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="disk on fire"), pytest.raises(KeyboardInterrupt):
        stop()


def test_a_checkpoint_of_a_version_without_task_states(tmp_path):
    state = init(toys.experiment(), jax.random.key(0))
    before = {field.name: getattr(state, field.name) for field in dataclasses.fields(state) if field.name != "task"}
    storage.write(tmp_path / "3", before, fingerprints(before).values(), step=3, metrics={}, extra={})
    with Checkpoints(tmp_path) as checkpoints:
        loaded, _ = checkpoints.latest(state)
    assert toys.same(loaded, state)
    assert loaded.task == ()
