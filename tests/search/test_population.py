"""A member is its solo run; what one does, or suffers, is nothing to the others."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.runtime import Runtime
from deeplab.scale import rules
from deeplab.search.execution import choose_execution
from deeplab.search.groups import Group, Member, groups
from deeplab.search.parts import Part, PartState, gathered
from deeplab.train.feed import make_feed
from deeplab.train.members import MemberExecution, make_init, member_mesh
from tests import toys

# Before a batch norm a bias has no gradient but rounding, which Adam makes as large as any: none here.
ARGUMENTS = {"steps": 13, "norm": False}
MEMBERS = tuple(Member(ARGUMENTS | {"learning_rate": r}, seed) for r in (1e-2, 3e-2) for seed in (0, 5))


@dataclasses.dataclass
class Seen:
    """What a hook has seen of members at an evaluation."""

    step: int
    state: Any
    train: list
    evaluation: list


def feeds(experiment, mesh=None):
    grid = mesh or member_mesh(jax.devices()[:1], 1)
    return [make_feed(experiment.data, experiment.data.open(split), grid) for split in ("train", "test")]


@functools.cache
def seen():
    return run(MEMBERS)


def run(members, function=toys.experiment, how="auto", devices=1, resident=True, offload=False, **fitted):
    """What is seen at each evaluation of members that share one program."""
    group, *others = groups(function, members)
    assert not others
    experiment, runtime = group.experiment(), Runtime(offload=offload)
    train, test = feeds(experiment, member_mesh(jax.devices()[:devices], len(members)))
    train = dataclasses.replace(train, axes=("member",), resident=train.resident if resident else None)
    chunk = group.members_with(choose_execution(group, train, how))
    assert len(chunk) == chunk.execution.members_per_program
    evaluate, found, metrics = dl.make_evaluator(experiment, test, "test", members=chunk), [], []

    def look(progress):
        state = jax.tree.map(lambda x: x.copy(), progress.state)
        found.append(Seen(progress.step, state, metrics[-1], evaluate(progress.state, chunk)))

    hooks = [dl.on_log(lambda p: metrics.append([*chunk.each(p.metrics)])), dl.on_state(experiment.cadence, look)]
    state = make_init(chunk, runtime)(chunk)
    dl.train.loop.fit(
        experiment,
        state,
        train,
        hooks=hooks,
        log_every=experiment.cadence,
        members=chunk,
        start=0,
        runtime=runtime,
        **fitted,
    )
    return found


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
    """Weights and metrics at each evaluation; with dropout and jitter."""
    m = 3  # another rate and another seed than the first's
    alone = solo(MEMBERS[m])
    assert len(alone) == len(seen()) == 4
    for progress, (params, metrics) in zip(seen(), alone, strict=True):
        assert progress.evaluation[m] == pytest.approx(metrics, rel=1e-4)
        close(jax.tree.map(lambda x: x[m], progress.state.params), params)


def test_a_member_begins_with_the_bits_of_its_solo_run():
    group = Group(toys.experiment, MEMBERS)
    members = group.members_with(MemberExecution(2, member_mesh(jax.devices()[:2], 4), ""))
    state = make_init(members)(members)
    for m, member in enumerate(MEMBERS):
        alone = dl.init(toys.experiment(**member.arguments), jax.random.key(member.seed))
        assert toys.same(jax.tree.map(lambda x: x[m], state), alone)  # noqa: B023 (called at once)


def test_training_metrics_are_those_of_all_steps_since_the_last_evaluation():
    """Those of the solo run."""
    experiment, rows = toys.experiment(**MEMBERS[0].arguments), []
    train, _ = feeds(experiment)
    log = dl.on_log(lambda progress: rows.append(progress.metrics["loss"].compute()))
    dl.train.loop.fit(experiment, dl.init(experiment, jax.random.key(0)), train, hooks=[log], log_every=4, seed=0)
    assert [progress.train[0]["loss"] for progress in seen()] == pytest.approx(rows, rel=1e-4)


def test_dispatches_change_nothing(monkeypatch):
    monkeypatch.setattr("deeplab.train.program.MAX_STEPS", 2)
    parts = run(MEMBERS)
    assert [p.step for p in parts] == [p.step for p in seen()]
    for a, b in zip(seen(), parts, strict=True):
        assert a.train == b.train
        assert toys.same(a.state, b.state)


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
    assert last.train[0] == pytest.approx(undisturbed.train[0])


def test_members_that_differ_in_shape_are_groups():
    members = [Member({"batch_size": b, "dropout": d}, s) for s in (0, 1) for d in (0.0, 0.5) for b in (8, 16)]
    found = groups(toys.experiment, members)
    assert [len(group.members) for group in found] == [4, 4]
    assert found[1].floats["dropout"].tolist() == [0.0, 0.5, 0.0, 0.5]
    assert found[1].floats["jitter"].tolist() == pytest.approx([0.1] * 4)
    assert found[1].seeds.tolist() == [0, 0, 1, 1]
    assert found[1].experiment().data.batch_size == 16


@pytest.mark.parametrize("devices", [1, 2])
def test_data_that_are_not_on_the_device_are_read_from_the_host(devices):
    read = run(MEMBERS, resident=False, devices=devices)
    for progress, expected in zip(read, seen(), strict=True):
        close(progress.state.params, expected.state.params)
        assert progress.train[2] == pytest.approx(expected.train[2], rel=1e-4)


@pytest.mark.parametrize(("how", "devices"), [("serial", 1), ("serial", 4), ("vmap", 2)])
def test_every_execution_is_the_same_run(how, devices):
    """One after another, spread over devices, and several on each."""
    members = MEMBERS if devices > 1 else MEMBERS[3:]
    found = run(members, how=how, devices=devices)
    for one, together in zip(found, seen(), strict=True):
        assert one.evaluation[-1] == pytest.approx(together.evaluation[-1], rel=1e-4)
        close(*(jax.tree.map(lambda x: x[-1], progress.state.params) for progress in (one, together)))
    assert len(found[-1].state.step.sharding.device_set) == devices


@pytest.mark.slow
def test_a_member_by_itself_is_the_program_of_its_solo_run():
    """One after another, the step of a member is the solo one: not a bit differs where its floats are constants."""
    function = functools.partial(toys.experiment, **MEMBERS[3].arguments)
    experiment, member = function(), Member({}, MEMBERS[3].seed)

    def same(unused: float = 0.0) -> dl.Experiment:
        return experiment

    alone = solo(Member({}, member.seed), function)
    for progress, (params, metrics) in zip(run([member], same), alone, strict=True):
        assert toys.same(jax.tree.map(lambda x: x[0], progress.state.params), params)
        assert progress.evaluation[0] == metrics


@pytest.mark.parametrize("devices", [1, 2])
def test_members_may_keep_their_optimizer_state_on_the_host(devices, monkeypatch):
    monkeypatch.setattr(rules, "SMALLEST", 1)
    found = run(MEMBERS, devices=devices, offload=True)
    kinds = {leaf.sharding.memory_kind for leaf in jax.tree.leaves(found[-1].state.opt_state)}
    assert kinds == {"pinned_host"}
    for progress, expected in zip(found, seen(), strict=True):
        close(progress.state.params, expected.state.params)


def test_gathered_members_go_on_as_if_nothing_had_happened():
    group, where = Group(toys.experiment, MEMBERS), [3, 0]
    pair = Group(toys.experiment, [MEMBERS[m] for m in where])
    train, _ = feeds(group.experiment())
    part = Part(pair, [], choose_execution(pair, train), None, positions=where)
    before = PartState(seen()[2].step, seen()[2].state, seen()[0].state, np.arange(4.0))
    state = gathered([before], part, offload=False)
    assert state.scores.tolist() == [3, 0]
    assert toys.same(state.best, jax.tree.map(lambda x: x[jnp.array(where)], seen()[0].state))
    train = dataclasses.replace(train, axes=("member",))
    last = dl.train.loop.fit(pair.experiment(), state.state, train, members=part.members, start=state.step)
    assert last.step == seen()[-1].step
    close(last.state.params, jax.tree.map(lambda x: x[jnp.array(where)], seen()[-1].state.params))
