"""Sharded is the single device, for every family: each of its parameters split as its RULES and `fsdp` say.

A family of each kind is tested by default, on the mesh of three axes; all of them on all meshes by
`python -m pytest -m "slow or not slow" tests/scale`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplab import scale
from deeplab.experiment import Experiment
from deeplab.metrics.base import Mean
from deeplab.models.mlp import MLP, RULES
from deeplab.tasks.contract.task import Loss, Task
from deeplab.train.initialize import init
from deeplab.train.step import make_step
from tests import toys
from tests.models.members import MEMBERS

MESHES = ("data=8", "fsdp=8", "data=2,fsdp=2,model=2")
FAMILIES = tuple({id(member.rules): name for name, member in MEMBERS.items()}.values())
# Convolution, recurrence, attention, tables.
KINDS = ("cnn_norm_dropout", "lstm_forecaster", "gpt_dropout", "two_tower_dropout")
SEQUENCES = FAMILIES
STEPS = 20
# Not Adam, which makes a gradient that is but rounding as large as any.
OPTIMIZER = optax.sgd(1e-2, momentum=0.9)


@dataclasses.dataclass(frozen=True)
class Squares(Task):
    """Mean squared distance of the outputs from a target."""

    fields: tuple[str, ...] = ("input",)

    def loss(self, apply, batch, key):
        out, variables = apply(batch["input"], train=True, key=key)
        errors = jnp.mean((out - batch["target"]) ** 2, axis=tuple(range(1, out.ndim)))
        return Loss(Mean.of(errors, batch["weight"]), {}, variables)


@functools.cache
def start(name):
    """An experiment with a member of the laws' table, and its first state."""
    member, ids = MEMBERS[name], jnp.arange(8)
    target = jax.random.normal(jax.random.key(3), (8, *member.output))
    batch = {"input": member.inputs(8), "target": target, "id": ids, "weight": jnp.ones(8).at[5].set(0.5)}
    experiment = Experiment(toys.Given(batch), member.make(), Squares(), OPTIMIZER, rules=member.rules)
    return experiment, jax.jit(functools.partial(init, experiment))(jax.random.key(0))


@functools.cache
def losses(name, shape, again=False):
    """The curve, and how many arrays were split over devices."""
    experiment, state = start(name)
    mesh = scale.make_mesh(shape)
    shardings = scale.state_shardings(state, experiment.sharding_rules, mesh, smallest=16)
    state = jax.device_put(jax.tree.map(jnp.copy, state), shardings)
    batch = jax.device_put(experiment.data.batch, scale.batch_sharding(mesh))
    curve = []
    with jax.set_mesh(mesh):
        step = jax.jit(make_step(experiment), donate_argnums=0, out_shardings=(shardings, None))
        step = step.lower(state, batch).compile()
        for _ in range(STEPS):
            state, metrics = step(state, batch)
            curve.append(metrics["loss"])
    split = sum(not s.is_fully_replicated for s in jax.tree.leaves(shardings.params))
    return [float(m.total) / float(m.count) for m in curve], split, state


def slow(case, fast):
    return pytest.param(*case, marks=() if fast else pytest.mark.slow)


CASES = [
    slow((name, shape), (name in KINDS and shape == MESHES[-1]) or (name, shape) == ("gpt_dropout", "fsdp=8"))
    for name in FAMILIES
    for shape in MESHES
]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_sharded_is_the_single_device(name, shape):
    alone, _, _ = losses(name, "data=1")
    curve, split, _ = losses(name, shape)
    assert np.isfinite(alone).all()
    assert len(set(alone)) == STEPS
    np.testing.assert_allclose(curve, alone, rtol=1e-5)
    assert (split > 0) == (shape != "data=8")


@pytest.mark.parametrize("hidden", [2, 3])
def test_layers_in_a_row_have_the_gradient_of_the_single_device(hidden):
    """Where two are split alike, the partitioner gets the second one or the gradient of the first one wrong."""
    ids, model = jnp.arange(8), MLP(num_classes=4, features=(16,) * hidden)
    batch = {"input": jax.random.normal(jax.random.key(1), (8, 16)), "id": ids, "weight": jnp.ones(8)}
    batch["target"] = jax.random.normal(jax.random.key(3), (8, 4))
    experiment = Experiment(toys.Given(batch), model, Squares(), OPTIMIZER, rules=RULES)
    state, norms = jax.jit(functools.partial(init, experiment))(jax.random.key(0)), []
    for mesh in map(scale.make_mesh, ("data=1", MESHES[-1])):
        shardings = scale.state_shardings(state, experiment.sharding_rules, mesh, smallest=16)
        given = jax.device_put(state, shardings), jax.device_put(batch, scale.batch_sharding(mesh))
        with jax.set_mesh(mesh):
            _, metrics = jax.jit(make_step(experiment), out_shardings=(shardings, None))(*given)
        norms.append([metrics[name].compute() for name in ("loss", "grad_norm")])
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-5)


@pytest.mark.parametrize("name", [slow((name,), name == "gpt_dropout") for name in SEQUENCES])
def test_a_split_sequence_is_the_whole(name):
    alone, _, _ = losses(name, "data=1")
    curve, _, _ = losses(name, "data=2,sequence=2,model=2")
    np.testing.assert_allclose(curve, alone, rtol=1e-5)


@pytest.mark.slow
def test_the_same_mesh_gives_the_same_bits():
    first, again = (losses("gpt_dropout", "fsdp=8", again) for again in (False, True))
    assert first[0] == again[0]
    assert toys.same(first[2], again[2])
