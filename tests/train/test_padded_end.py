"""The last batch of a run over whole epochs is padded, in the same way wherever and however the run is trained."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.runtime import Runtime
from deeplab.search.groups import Member, groups
from deeplab.train.feed import make_feed
from deeplab.train.initialize import init
from deeplab.train.loop import NonFinite, fit, on_log
from deeplab.train.members import MemberExecution, make_init, member_mesh
from deeplab.train.program import compile_program
from deeplab.train.step import make_step
from tests import toys

STEPS, REAL = 7, 4  # two epochs of 50 examples in batches of 16 are 6.25 steps


def over_epochs(batch_size: int = 16, epochs: int | None = 2, norm: bool = True, learning_rate: float = 1e-2):
    exp = toys.experiment(batch_size, norm=norm, learning_rate=learning_rate)
    return dataclasses.replace(exp, data=dataclasses.replace(exp.data, epochs=epochs))


def trained(exp, mesh="data=1", resident=True, runtime=Runtime(), until=None, state=None):
    """The last state, and the number of examples and the loss of each step."""
    first, feed, _ = toys.start(exp, mesh, runtime=runtime)
    feed = dataclasses.replace(feed, resident=feed.resident if resident else None)
    seen = []
    log = on_log(lambda p: seen.append((float(p.metrics["loss"].count), p.metrics["loss"].compute())))
    end = fit(exp, state or first, feed, hooks=[log], log_every=1, runtime=runtime, num_steps=until)
    return end.state, np.array(seen)


@functools.cache
def straight():
    return trained(over_epochs())


def test_the_last_batch_counts_the_examples_that_are_left():
    assert straight()[1][:, 0].tolist() == [16.0] * (STEPS - 1) + [REAL]
    assert float(straight()[0].step) == STEPS


def test_a_loop_of_ones_own_takes_the_same_steps():
    exp = over_epochs()
    state, step = init(exp, jax.random.key(0)), jax.jit(make_step(exp))
    losses = []
    for batch in exp.data.batches():
        state, metrics = step(state, batch)
        losses.append(metrics["loss"].compute())
    np.testing.assert_allclose(losses, straight()[1][:, 1], rtol=1e-5)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), state.params, straight()[0].params
    )


@pytest.mark.parametrize(
    "how",
    [
        {"runtime": Runtime(steps_per_dispatch=1)},
        {"runtime": Runtime(steps_per_dispatch=3)},
        {"resident": False},
    ],
    ids=["one step a dispatch", "three steps a dispatch", "streamed"],
)
def test_however_it_is_read(how):
    state, seen = trained(over_epochs(), **how)
    np.testing.assert_array_equal(seen[:, 0], straight()[1][:, 0])
    np.testing.assert_allclose(seen[:, 1], straight()[1][:, 1], rtol=1e-6)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), state.params, straight()[0].params
    )


@pytest.mark.parametrize("resident", [True, False])
def test_sharded_as_on_one_device(resident):
    _, seen = trained(over_epochs(), "data=4", resident=resident)
    np.testing.assert_array_equal(seen[:, 0], straight()[1][:, 0])
    np.testing.assert_allclose(seen[:, 1], straight()[1][:, 1], rtol=1e-5)


@pytest.mark.parametrize("cut", [3, STEPS - 1])
def test_resumed_as_straight(cut):
    exp = over_epochs()
    half, before = trained(exp, until=cut)
    state, after = trained(exp, state=half)
    assert toys.same(state, straight()[0])
    np.testing.assert_array_equal(np.concatenate([before, after]), straight()[1])


def test_accumulated_as_at_once():
    """Four of the eight microbatches of the last batch hold no real example."""
    exp = over_epochs(norm=False)
    _, seen = trained(exp, runtime=Runtime(accumulate=8))
    np.testing.assert_allclose(seen, trained(exp)[1], rtol=1e-5)


@pytest.mark.slow
def test_members_of_a_sweep_count_what_a_run_counts():
    arguments = {"epochs": 2, "norm": False}
    members = tuple(Member(arguments | {"learning_rate": r}, seed) for r, seed in ((1e-2, 0), (3e-2, 0), (1e-2, 4)))
    (group,) = groups(over_epochs, members)
    exp, grid = group.experiment(), member_mesh(jax.devices()[:1], len(members))
    feed = dataclasses.replace(make_feed(exp.data, exp.data.open("train"), grid), axes=("member",))
    chunk = group.members_with(MemberExecution(len(members), grid, "a test"))
    program_seen = []
    for one in (feed, dataclasses.replace(feed, resident=None)):
        seen = []
        log = on_log(lambda p, seen=seen: seen.append(p.metrics["loss"]))
        fit(exp, make_init(chunk)(chunk), one, hooks=[log], log_every=1, members=chunk, start=0)
        program_seen.append([loss.total / loss.count for loss in seen])
        assert [np.asarray(loss.count).tolist() for loss in seen] == [[16.0] * 3] * (STEPS - 1) + [[REAL] * 3]
    np.testing.assert_allclose(program_seen[0], program_seen[1], rtol=1e-6)
    solo = trained(over_epochs(norm=False))[1][:, 1]
    np.testing.assert_allclose(np.array(program_seen[0])[:, 0], solo, rtol=1e-5)


@pytest.mark.slow
def test_a_failed_last_step_is_replayed_with_its_padding():
    exp = over_epochs()
    source = exp.data.open("train")
    image = np.array(source.arrays["image"])
    ids = exp.data.train_ids(STEPS - 1, 0)[0]
    image[ids[0]] = np.nan
    source = dataclasses.replace(source, arrays={**source.arrays, "image": image})
    feed = make_feed(exp.data, source, toys.scale.make_mesh("data=1"))
    state, *_ = trained(exp, until=STEPS - 1)
    with pytest.raises(NonFinite) as caught:
        fit(exp, state, feed)
    assert caught.value.batch["weight"].tolist() == [1.0] * REAL + [0.0] * (16 - REAL)


@pytest.mark.slow
def test_a_batch_that_is_repeated_is_padded_each_time():
    class Twice(toys.Toy):
        repeats = 2

    exp = dataclasses.replace(over_epochs(), data=Twice(16, epochs=2))
    for resident in (True, False):
        assert trained(exp, resident=resident)[1][:, 0].tolist() == [16.0] * 6 + [2.0] * 2


@pytest.mark.slow
def test_data_that_fill_their_last_batch_keep_their_program():
    """25 examples divide two epochs of 50, and a run of so many steps has no end."""

    def instructions(exp):
        state, feed, _ = toys.start(exp, "data=1")
        text = compile_program(exp, state, feed, 0, Runtime(steps_per_dispatch=1)).text()
        return [re.sub(", metadata={.*?}", "", line) for line in text.splitlines() if " = " in line]

    steps = dataclasses.replace(over_epochs(25), data=toys.Toy(25, steps=4))
    assert instructions(over_epochs(25)) == instructions(steps)
    assert instructions(over_epochs(16)) != instructions(dataclasses.replace(steps, data=toys.Toy(16, steps=STEPS)))
    assert jnp.all(over_epochs(25).data.train_weight(3) == 1)
