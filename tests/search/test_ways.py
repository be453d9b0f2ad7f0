"""How many members share a program, and why."""

import math

import jax
import optax
import pytest

import deeplab as dl
from deeplab.search import execution
from deeplab.search.groups import Group, Member
from deeplab.search.programs import choose_way
from deeplab.train.feed import make_feed
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
    feed = make_feed(data, data.open("train"), execution.member_mesh(jax.devices()[:devices], members))
    return choose_way(group, feed, **asked)


def test_the_backend_and_the_step_choose():
    assert chosen(perceptron).lanes == 6
    assert chosen(convolutional).lanes == 1
    assert chosen(convolutional).convolution
    assert "several convolutions" in str(chosen(convolutional))
    assert chosen(perceptron, arguments={"width": 4096}).lanes == 1
    assert chosen(convolutional, how="vmap").lanes == 6
    assert chosen(perceptron, how="serial").at_once == 1
    assert str(chosen(perceptron, how="serial")) == "one after another (asked for)"


def test_an_accelerator_takes_all_that_fit(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen(convolutional).lanes == 6
    state = 4 * (64 * 8 + 8 + 8 * 10 + 10)
    monkeypatch.setattr(execution, "device_memory", lambda mesh: 300 * state)
    few = chosen(perceptron, members=1000)
    assert 1 < few.lanes < 50
    assert "memory holds" in str(few)
    monkeypatch.setattr(execution, "device_memory", lambda mesh: 10)
    assert chosen(perceptron).lanes == 1


@pytest.mark.parametrize("members", [1, 5, 6, 7, 16])
@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("at_once", [4, 9])
def test_rounds_have_the_same_size(members, devices, at_once):
    mesh = execution.member_mesh(jax.devices()[:devices], members)
    way = execution.Way(max(1, at_once // mesh.size), mesh, False, "").of(members)
    rounds = math.ceil(members / way.at_once)
    assert way.at_once <= max(at_once, mesh.size)
    assert rounds == math.ceil(math.ceil(members / mesh.size) / max(1, at_once // mesh.size))
    assert rounds * way.at_once - members < mesh.size * rounds  # what fills up: less than a device row a round


def test_fewer_at_once_are_asked_for():
    way = chosen(toys.experiment, members=10, at_once=4)
    assert way.at_once == 4
    assert "at most 4 were asked for" in str(way)
    assert chosen(toys.experiment, members=10, devices=2, at_once=7).at_once == 6
