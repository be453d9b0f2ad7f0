"""Probes, against what is computed by hand; and on populations."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.search.groups import Group, Member
from deeplab.train import probes
from deeplab.train.evaluate import make_evaluator
from deeplab.train.feed import make_feed
from deeplab.train.members import MemberExecution, make_init, member_mesh
from experiments.pages import representation_study
from tests import toys


def experiment(depth: int = 2, learning_rate: float = 1e-2) -> dl.Experiment:
    """An MLP with taps."""
    model = dl.models.MLP(4, (8,) * depth, activation=nn.relu)
    return dataclasses.replace(toys.experiment(batch_size=16, learning_rate=learning_rate), model=model)


@pytest.fixture(scope="module")
def start():
    exp = experiment()
    state = dl.init(exp, jax.random.key(0))
    source = exp.data.open("test")
    ids, weights = exp.data.eval_ids("test")
    batches = [exp.data.fetch(source, i) | {"weight": w} for i, w in zip(ids, weights, strict=True)]
    return exp, state, batches


def test_a_gradient_norm_is_that_of_the_mean_loss(start):
    exp, state, (full, padded) = start
    found = jax.jit(probes.gradient_norms(exp))(state, full)

    def loss(params):
        logits = exp.model.apply({"params": params}, full["image"])
        target = exp.task.label_smoothing / 4 + (1 - exp.task.label_smoothing) * jax.nn.one_hot(full["label"], 4)
        return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))

    grads = jax.grad(loss)(state.params)
    assert set(found) == {f"gradient_norm/{name}" for name in grads}
    for name, grad in grads.items():
        norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(grad)))
        assert found[f"gradient_norm/{name}"].compute() == pytest.approx(norm, rel=1e-4)
    assert padded["weight"].sum() == 5  # its padding repeats example 0, which must not count
    alone = jax.jit(probes.gradient_norms(exp))(state, jax.tree.map(lambda x: x[:5], padded))
    for name, metric in jax.jit(probes.gradient_norms(exp))(state, padded).items():
        assert metric.count == 5
        assert metric.compute() == pytest.approx(alone[name].compute(), rel=1e-4)


def test_dead_and_saturated_units_are_constant(start):
    exp, state, batches = start
    params = jax.tree.map(lambda x: x, state.params)
    params["hidden1"]["bias"] = params["hidden1"]["bias"].at[:3].set(-100.0)  # always 0
    params["hidden2"]["kernel"] = params["hidden2"]["kernel"].at[:, 0].set(0.0)
    params["hidden2"]["bias"] = params["hidden2"]["bias"].at[0].set(1.0)  # always 1
    params["hidden2"]["bias"] = params["hidden2"]["bias"].at[1].set(1e6)  # moves by less than a thousandth
    probe = jax.jit(probes.constant_units(exp))
    parts = [probe(dataclasses.replace(state, params=params), batch) for batch in batches]
    merged = {name: parts[0][name] + parts[1][name] for name in parts[0]}
    image = np.concatenate([batch["image"] for batch in batches])[:21]
    kernel, bias = (np.asarray(params["hidden1"][name]) for name in ("kernel", "bias"))
    hidden = np.maximum(image @ kernel + bias, 0)
    dead = float(np.mean(np.ptp(hidden, axis=0) == 0))
    assert dead >= 3 / 8
    assert merged["constant_units/activation1"].compute() == pytest.approx(dead)
    assert merged["constant_units/activation2"].compute() >= 2 / 8


def test_padding_hides_no_constant_unit_and_makes_none():
    values = jnp.array([[1.0, 0.0], [1.0, 2.0], [9.0, 9.0]])
    weighted = probes.ConstantUnits.of(values, jnp.array([1.0, 1.0, 0.0]))
    assert weighted.compute() == 0.5
    assert probes.ConstantUnits.of(values).compute() == 0
    assert (weighted + probes.ConstantUnits.of(values[2:])).compute() == 0
    assert probes.ConstantUnits.of(jnp.array([[jnp.inf, 0.0], [1.0, 0.0]])).compute() == 0.5  # overflows, constant
    spread = jnp.arange(8.0).reshape(2, 2, 2)  # [B, T, C]: over time too
    assert probes.ConstantUnits.of(spread).low.tolist() == [0, 1]


@pytest.mark.slow
def test_a_population_is_probed_as_its_members_are(start):
    exp, state, batches = start
    group = Group(experiment, [Member({}, seed) for seed in (3, 0)])
    members = group.members_with(MemberExecution(2, member_mesh(jax.devices()[:1], 2), ""))
    feed = make_feed(exp.data, exp.data.open("test"), members.execution.mesh)
    measure = make_evaluator(exp, feed, "test", probe=probes.signals, members=members)
    found = measure(make_init(members)(members), members)[1]
    parts = [jax.jit(probes.signals(exp))(state, batch) for batch in batches]
    alone = {name: (parts[0][name] + parts[1][name]).compute() for name in parts[0]}
    assert found == pytest.approx(alone, rel=1e-4)
    assert {"accuracy", "loss", "gradient_norm/head", "constant_units/activation2"} < set(found)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Labels:
    """How many examples there are: they are joined, as a metric must that needs all of them at once."""

    label: jax.Array
    axis: int = dataclasses.field(metadata={"static": True})

    def __add__(self, other):
        return Labels(np.concatenate([self.label, other.label], self.axis), self.axis)

    def compute(self):
        return float(self.label.size)


@pytest.mark.parametrize("axis", [-1, 0])
def test_examples_are_joined_behind_the_axis_of_members(start, axis):
    exp, _, batches = start
    members = Group(experiment, [Member({}, 0)]).members_with(MemberExecution(1, member_mesh(jax.devices()[:1], 1), ""))
    feed = make_feed(exp.data, exp.data.open("test"), members.execution.mesh)

    def labels(experiment, runtime):
        return lambda state, batch: {"labels": Labels(batch["label"], axis)}

    measure = make_evaluator(exp, feed, "test", probe=labels, members=members)
    if axis == 0:  # of one member the first batch alone would be left
        with pytest.raises(UserError, match=r"'labels' of 1 members has an array \[2, 16\].*axis=-1"):
            measure(make_init(members)(members), members)
    else:
        assert measure(make_init(members)(members), members) == [{"labels": 16.0 * len(batches)}]


def test_probes_by_depth_read_the_examples_of_all_batches():
    rng = np.random.default_rng(0)
    label, features = np.arange(120) % 2, rng.normal(size=(120, 3))
    features[:, 0] += 4 * label
    whole = representation_study.Read(features, label, np.arange(120), np.ones(120), shuffled=False)
    first, second = (jax.tree.map(lambda x, part=part: x[None, part], whole) for part in (slice(0, 7), slice(7, 120)))
    merged = jax.tree.map(lambda x: x[0], first + second)  # [M, ...] of a population of one
    assert len(merged.features) == 120
    assert merged.compute() == whole.compute() > 0.8
