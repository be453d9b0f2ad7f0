"""A member is its solo run; what one does, or suffers, is nothing to the others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.search import execution, population, programs
from deeplab.search.groups import Group, Member, chunks, groups
from deeplab.search.programs import choose_way, compile_programs
from deeplab.train.feed import make_feed
from tests import toys

# Before a batch norm a bias has no gradient but rounding, which Adam makes as large as any: none here.
ARGUMENTS = {"steps": 13, "norm": False}
MEMBERS = tuple(Member(ARGUMENTS | {"learning_rate": r}, seed) for r in (1e-2, 3e-2) for seed in (0, 5))


def feeds(experiment, mesh=None):
    grid = mesh or execution.member_mesh(jax.devices()[:1], 1)
    return [make_feed(experiment.data, experiment.data.open(split), grid) for split in ("train", "test")]


@functools.cache
def seen():
    return run(MEMBERS)


def run(members, function=toys.experiment, how="auto", at_once=None, devices=1):
    """The progress of the only chunk."""
    group, *others = groups(function, members)
    assert not others
    train, test = feeds(group.experiment(), execution.member_mesh(jax.devices()[:devices], len(members)))
    way = choose_way(group, train, how, at_once)
    (chunk,) = chunks(group, way.at_once)
    evaluate = population.make_evaluator(group, way, test, "test")
    programs = compile_programs(group, way, train)
    return list(population.train(programs, evaluate, chunk, population.start(chunk, population.make_init(group, way))))


def solo(member, function=toys.experiment):
    """States and metrics at the evaluations of the run that `train` would make."""
    experiment = function(**member.arguments)
    train, test = feeds(experiment)
    evaluate, seen = dl.make_evaluator(experiment, test, "test"), []

    def look(progress):
        seen.append((jax.device_get(progress.state.params), evaluate(progress.state)))

    state = dl.init(experiment, jax.random.key(member.seed))
    dl.train.loop.fit(experiment, state, train, hooks=[dl.on_state(experiment.cadence, look)], seed=member.seed)
    return seen


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)


def test_a_member_is_its_solo_run():
    """Weights and metrics at each evaluation, and the best state; with dropout and jitter."""
    m = 3  # another rate and another seed than the first's
    alone, best = solo(MEMBERS[m]), seen()[-1].best
    assert len(alone) == len(seen()) == 5
    for progress, (params, metrics) in zip(seen(), alone, strict=True):
        assert progress.evaluation[m] == pytest.approx(metrics, rel=1e-4)
        close(jax.tree.map(lambda x: x[m], progress.state.params), params)
    first = int(np.argmin([metrics["loss"] for _, metrics in alone]))
    close(jax.tree.map(lambda x: x[m], best.params), alone[first][0])


def test_training_metrics_are_those_of_all_steps_since_the_last_evaluation():
    """Those of the solo run."""
    experiment, rows = toys.experiment(**MEMBERS[0].arguments), []
    train, _ = feeds(experiment)
    log = dl.on_log(lambda progress: rows.append(progress.metrics["loss"].compute()))
    dl.train.loop.fit(experiment, dl.init(experiment, jax.random.key(0)), train, hooks=[log], log_every=3, seed=0)
    assert [progress.train[0]["loss"] for progress in seen()] == pytest.approx(rows, rel=1e-4)


def test_dispatches_change_nothing(monkeypatch):
    monkeypatch.setattr(population, "MAX_STEPS", 2)
    monkeypatch.setattr(programs, "MAX_STEPS", 2)
    parts = run(MEMBERS)
    assert [p.step for p in parts] == [p.step for p in seen()]
    for a, b in zip(seen(), parts, strict=True):
        assert a.train[0] == pytest.approx(b.train[0], rel=1e-6)
        jax.tree.map(np.testing.assert_array_equal, a.state.params, b.state.params)


def test_a_diverged_member_is_frozen_and_the_others_go_on():
    def diverging(learning_rate: float = 1e-2, blow_up: float = 0.0) -> dl.Experiment:
        """After five steps the rate is infinite where `blow_up` is 1."""
        experiment = toys.experiment(steps=13, norm=False)
        rate = jnp.array([learning_rate, jnp.where(blow_up > 0, jnp.inf, learning_rate)])
        return dataclasses.replace(experiment, optimizer=optax.sgd(lambda step: rate[(step >= 5) * 1]))

    sound, blown_up = (Member({"blow_up": x}) for x in (0.0, 1.0))
    *_, last = run([sound, blown_up], diverging)
    *_, undisturbed = run([sound, sound], diverging)
    # The sixth update gives infinite weights; the seventh step finds them, and is refused.
    assert last.state.step.tolist() == [13, 6]
    assert np.isnan(last.train[1]["loss"])
    close(*(jax.tree.map(lambda x: x[0], progress.state.params) for progress in (last, undisturbed)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(last.best.params))


def test_members_that_differ_in_shape_are_groups():
    members = [Member({"batch_size": b, "dropout": d}, s) for s in (0, 1) for d in (0.0, 0.5) for b in (8, 16)]
    found = groups(toys.experiment, members)
    assert [len(group.members) for group in found] == [4, 4]
    assert found[1].floats["dropout"].tolist() == [0.0, 0.5, 0.0, 0.5]
    assert found[1].floats["jitter"].tolist() == pytest.approx([0.1] * 4)
    assert found[1].seeds.tolist() == [0, 0, 1, 1]
    assert found[1].experiment().data.batch_size == 16


def test_data_that_are_not_on_the_device_are_read_from_the_host():
    group = Group(toys.experiment, MEMBERS)
    train, test = feeds(group.experiment())
    absent = dataclasses.replace(train, resident=None)
    way = choose_way(group, absent)
    evaluate = population.make_evaluator(group, way, test, "test")
    compiled = compile_programs(group, way, absent)
    first = next(population.train(compiled, evaluate, group, population.start(group, population.make_init(group, way))))
    assert compiled.max_steps == 1
    close(first.state.params, seen()[0].state.params)


@pytest.mark.parametrize(("how", "devices"), [("serial", 1), ("serial", 4), ("vmap", 2)])
def test_every_way_is_the_same_run(how, devices):
    """One after another, spread over devices, and several on each."""
    members = MEMBERS if devices > 1 else MEMBERS[3:]
    found = run(members, how=how, devices=devices)
    for one, together in zip(found, seen(), strict=True):
        assert one.evaluation[-1] == pytest.approx(together.evaluation[-1], rel=1e-4)
        close(*(jax.tree.map(lambda x: x[-1], progress.state.params) for progress in (one, together)))
    assert len(found[-1].state.step.sharding.device_set) == devices


def test_gathered_members_go_on_as_if_nothing_had_happened():
    group = Group(toys.experiment, MEMBERS)
    train, test = feeds(group.experiment())
    pair = Group(toys.experiment, [MEMBERS[3], MEMBERS[0]])
    way = choose_way(pair, train)
    gathered = population.gather([seen()[2]], [3, 0], way)
    evaluate = population.make_evaluator(pair, way, test, "test")
    *_, last = population.train(compile_programs(pair, way, train), evaluate, pair, gathered)
    assert last.step == seen()[-1].step
    close(last.state.params, jax.tree.map(lambda x: x[jnp.array([3, 0])], seen()[-1].state.params))
    close(last.best.params, jax.tree.map(lambda x: x[jnp.array([3, 0])], seen()[-1].best.params))
