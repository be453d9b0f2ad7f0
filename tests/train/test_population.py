"""A member is its solo run; what one does, or suffers, is nothing to the others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab import scale
from deeplab.errors import UserError
from deeplab.train import population
from deeplab.train.feed import make_feed
from tests import toys

# Before a batch norm a bias has no gradient but rounding, which Adam makes as large as any: none here.
ARGUMENTS = {"steps": 13, "norm": False}
MEMBERS = tuple(population.Member(ARGUMENTS | {"learning_rate": r}, seed) for r in (1e-2, 3e-2) for seed in (0, 5))


def feeds(experiment, mesh="data=1"):
    grid = scale.make_mesh(mesh)
    return [make_feed(experiment.data, experiment.data.open(split), grid) for split in ("train", "test")]


@functools.cache
def seen():
    return run(MEMBERS)


def evaluator(group, feed):
    return population.make_evaluator(group, feed, "test")


def run(members, function=toys.experiment):
    group, *others = population.groups(function, members)
    assert not others
    train, test = feeds(group.experiment())
    return list(population.train(group, population.init(group), train, evaluator(group, test)))


def solo(member, function=toys.experiment):
    """States and metrics at the evaluations of the run that `train` would make."""
    experiment = function(**member.arguments)
    train, test = feeds(experiment)
    evaluate, seen = dl.make_evaluator(experiment, test, "test"), []

    def look(progress):
        seen.append((jax.device_get(progress.state.params), evaluate(progress.state)))

    state = dl.init(experiment, jax.random.key(member.seed))
    dl.fit(experiment, state, train, hooks=[dl.on_state(experiment.cadence, look)], seed=member.seed)
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
    dl.fit(experiment, dl.init(experiment, jax.random.key(0)), train, hooks=[log], log_every=3, seed=0)
    assert [progress.train[0]["loss"] for progress in seen()] == pytest.approx(rows, rel=1e-4)


def test_dispatches_change_nothing(monkeypatch):
    monkeypatch.setattr(population, "MAX_STEPS", 2)
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

    sound, blown_up = (population.Member({"blow_up": x}) for x in (0.0, 1.0))
    *_, last = run([sound, blown_up], diverging)
    *_, undisturbed = run([sound, sound], diverging)
    # The sixth update gives infinite weights; the seventh step finds them, and is refused.
    assert last.state.step.tolist() == [13, 6]
    assert np.isnan(last.train[1]["loss"])
    close(*(jax.tree.map(lambda x: x[0], progress.state.params) for progress in (last, undisturbed)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(last.best.params))


def test_members_that_differ_in_shape_are_groups():
    members = [
        population.Member({"batch_size": b, "dropout": d}, s) for s in (0, 1) for d in (0.0, 0.5) for b in (8, 16)
    ]
    groups = population.groups(toys.experiment, members)
    assert [len(group.members) for group in groups] == [4, 4]
    assert groups[1].floats["dropout"].tolist() == [0.0, 0.5, 0.0, 0.5]
    assert groups[1].floats["jitter"].tolist() == pytest.approx([0.1] * 4)
    assert groups[1].seeds.tolist() == [0, 0, 1, 1]
    assert groups[1].experiment().data.batch_size == 16


def test_data_that_are_not_on_the_device_are_refused():
    group = population.Group(toys.experiment, MEMBERS)
    train, test = feeds(group.experiment())
    absent = dataclasses.replace(train, resident=None)
    with pytest.raises(UserError, match="do not fit"):
        next(population.train(group, population.init(group), absent, evaluator(group, test)))
