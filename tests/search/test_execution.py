"""How many members share a program, and why."""

import math

import jax
import optax
import pytest

import deeplab as dl
from deeplab.search import execution
from deeplab.search.execution import choose_execution
from deeplab.search.groups import Group, Member
from deeplab.train.feed import make_feed
from deeplab.train.members import MemberExecution, member_mesh
from tests import toys


def perceptron(width: int = 8, learning_rate: float = 1e-3) -> dl.Experiment:
    data = dl.data.Images("digits", batch_size=8, num_steps=2)
    return dl.Experiment(data, dl.models.MLP(10, (width,)), dl.tasks.Classification(), optax.sgd(learning_rate))


def convolutional(learning_rate: float = 1e-3) -> dl.Experiment:
    data = dl.data.Images("digits", batch_size=8, num_steps=2)
    return dl.Experiment(data, dl.models.CNN(10, (2,), hidden=4), dl.tasks.Classification(), optax.sgd(learning_rate))


def chosen(function, members=6, devices=1, arguments=None, **asked):
    group = Group(function, [Member(arguments or {}, seed) for seed in range(members)])
    data = group.experiment().data
    feed = make_feed(data, data.open("train"), member_mesh(jax.devices()[:devices], members))
    return choose_execution(group, feed, **asked)


def test_the_backend_and_the_step_choose():
    assert chosen(perceptron).vmap_size == 6
    assert chosen(convolutional).vmap_size == 1
    assert "several convolutions" in str(chosen(convolutional))
    assert chosen(perceptron, arguments={"width": 4096}).vmap_size == 1
    assert chosen(convolutional, how="vmap").vmap_size == 6
    assert chosen(perceptron, how="serial").members_per_program == 1
    assert str(chosen(perceptron, how="serial")) == "one after another (asked for)"


def test_an_accelerator_takes_all_that_fit(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen(convolutional).vmap_size == 6
    state = 4 * (64 * 8 + 8 + 8 * 10 + 10)
    monkeypatch.setattr(execution, "device_memory", lambda mesh: 300 * state)
    few = chosen(perceptron, members=1000)
    assert 1 < few.vmap_size < 50
    assert "memory holds" in str(few)
    monkeypatch.setattr(execution, "device_memory", lambda mesh: 10)
    assert chosen(perceptron).vmap_size == 1


@pytest.mark.parametrize("members", [1, 5, 6, 7, 16])
@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("most", [4, 9])
def test_rounds_have_the_same_size(members, devices, most):
    mesh = member_mesh(jax.devices()[:devices], members)
    way = MemberExecution(max(1, most // mesh.size), mesh, "").of(members)
    rounds = math.ceil(members / way.members_per_program)
    assert way.members_per_program <= max(most, mesh.size)
    assert rounds == math.ceil(math.ceil(members / mesh.size) / max(1, most // mesh.size))
    assert (
        rounds * way.members_per_program - members < mesh.size * rounds
    )  # what fills up: less than a device row a round


def test_fewer_most_are_asked_for():
    way = chosen(toys.experiment, members=10, members_per_program=4)
    assert way.members_per_program == 4
    assert "at most 4 were asked for" in str(way)
    assert chosen(toys.experiment, members=10, devices=2, members_per_program=7).members_per_program == 6
