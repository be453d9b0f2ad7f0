"""The feed: what is read ahead, by whom, and what waiting for it costs; none of it shows in the batches."""

import dataclasses
import time

import jax
import numpy as np
import pytest

from deeplab.train.loop import fit, on_dispatch
from tests import toys


def _slow(feed, seconds, before=0):
    """The feed, read on the host, each batch from step `before` on so many seconds late."""

    class Slow(toys.Toy):
        def fetch(self, source, ids):
            time.sleep(seconds)
            return super().fetch(source, ids)

    data = Slow(**{f.name: getattr(feed.data, f.name) for f in dataclasses.fields(feed.data)})
    return dataclasses.replace(feed, resident=None, data=data)


@pytest.mark.parametrize(("seconds", "low", "high"), [(0.02, 0.5, 1.0), (0.0, 0.0, 0.5)])
def test_a_stall_is_the_time_that_the_device_waits_for_input(seconds, low, high):
    exp = toys.experiment(steps=25)
    state, feed, _ = toys.start(exp)
    seen = []
    began = time.monotonic()
    end = fit(exp, state, _slow(feed, seconds), hooks=[on_dispatch(lambda p: seen.append(p.stalled))])
    assert low * seconds * 24 <= end.stalled <= (time.monotonic() - began) * high
    assert seen == sorted(seen)
    assert seen[-1] == end.stalled


def test_what_lies_on_the_device_is_never_waited_for():
    exp = toys.experiment(steps=400)
    state, feed, _ = toys.start(exp)
    began = time.monotonic()
    assert fit(exp, state, feed).stalled < 0.05 * (time.monotonic() - began)


def test_batches_read_ahead_lie_on_the_devices():
    exp = toys.experiment(steps=5)
    _, feed, _ = toys.start(exp, "data=2")
    with dataclasses.replace(feed, resident=None).reader(1, 3, 5) as reader:
        batches = [reader.read(step, 1) for step in range(1, 5)]
    for step, batch in enumerate(batches, start=1):
        assert all(isinstance(array, jax.Array) and len(array.devices()) == 2 for array in batch.values())
        np.testing.assert_array_equal(batch["id"], exp.data.train_ids(step, 3)[0])


@pytest.mark.slow
def test_processes_feed_the_same_run():
    exp = toys.experiment()
    exp = dataclasses.replace(exp, data=dataclasses.replace(exp.data, epochs=2))  # the last batch is padded
    ends = []
    for workers in (0, 2):
        state, feed, _ = toys.start(exp)
        ends.append(fit(exp, state, dataclasses.replace(feed, resident=None, workers=workers)).state)
    assert toys.same(*ends)
