"""Laws of the loop: what is dispatched how, resumed or sharded, does not show in the result."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.metrics.confusion import Confusion, macro_f1
from deeplab.tasks.classification import Classification
from deeplab.train.evaluate import make_evaluator, predict
from deeplab.train.feed import make_feed
from deeplab.train.loop import NonFinite, fit, on_dispatch, on_log, on_state
from deeplab.train.nonfinite import Origin, find_origin
from deeplab.train.program import compile_program
from deeplab.train.step import make_eval, make_step
from tests import toys


def _copy(state):
    return jax.tree.map(lambda x: x.copy(), state)


def _rows(exp, state, feed, **kwargs):
    rows = []

    def log(progress):
        rows.append((progress.step, {name: metric.compute() for name, metric in progress.metrics.items()}))

    return fit(exp, state, feed, hooks=[on_log(log)], **kwargs), rows


def test_fit_is_the_hand_written_loop():
    exp = toys.experiment()
    state, feed, _ = toys.start(exp)
    expected, step = _copy(state), jax.jit(make_step(exp))
    losses = []
    for batch in exp.data.batches("train"):
        expected, metrics = step(expected, batch)
        losses.append(metrics["loss"].compute())
    _, rows = _rows(exp, state, feed, log_every=1)
    np.testing.assert_allclose([row["loss"] for _, row in rows], losses, rtol=1e-5)


@pytest.mark.slow
def test_dispatches_of_any_length_give_the_same_bits():
    """The hooks' cadence cuts dispatches differently; parameters and logs stay the same, bit by bit."""
    exp = toys.experiment()
    ends = []
    for every in (1, 3, 7, 20):
        state, feed, _ = toys.start(exp)
        seen, rows = [], []
        note_step = on_state(every, lambda p, seen=seen: seen.append(p.step))
        note_metrics = on_log(lambda p, rows=rows: rows.append(repr(p.metrics)))
        end = fit(exp, state, feed, hooks=[note_step, note_metrics], log_every=6)
        assert seen == sorted({*range(every, 21, every), 20})
        ends.append((end.state, rows))
    assert all(toys.same(ends[0][0], state) and ends[0][1] == rows for state, rows in ends[1:])


@dataclasses.dataclass(frozen=True)
class Counted(Classification):
    """A classification whose rows have an array: the counts of labels and predictions."""

    def loss(self, apply, batch, key):
        loss = super().loss(apply, batch, key)
        counts = Confusion.of(batch["label"], batch["label"], 4, macro_f1, batch["weight"])
        return loss._replace(metrics={**loss.metrics, "macro_f1": counts})


@pytest.mark.parametrize(("cut", "task"), [(1, Classification), (7, Counted), (12, Classification)])
def test_resumed_is_straight(cut, task):
    exp = dataclasses.replace(toys.experiment(), task=task(0.1))
    state, feed, _ = toys.start(exp)
    straight, rows = _rows(exp, _copy(state), feed, log_every=5)
    first, before = _rows(exp, state, feed, log_every=5, num_steps=cut)
    leaves = [x.tolist() for x in jax.tree.leaves(first.metrics)]
    second, after = _rows(exp, first.state, feed, log_every=5, metrics=leaves)
    assert toys.same(straight.state, second.state)
    before = [row for row in before if row[0] % 5 == 0]  # a run that ends between two rows writes what it has
    assert before + after == rows


@pytest.mark.slow
def test_stopped_where_asked_and_resumed_from_there():
    exp = toys.experiment(steps=400)
    state, feed, _ = toys.start(exp)
    straight = fit(exp, _copy(state), feed)
    news = []
    part = fit(exp, state, feed, hooks=[on_dispatch(lambda p: news.append(p.step))], stop=lambda: bool(news))
    assert 0 < part.step < 400
    end = fit(exp, part.state, feed, metrics=[x.tolist() for x in jax.tree.leaves(part.metrics)])
    assert toys.same(straight.state, end.state)


def test_resident_and_host_read_the_same_batches():
    exp = toys.experiment()
    state, feed, _ = toys.start(exp)
    host = dataclasses.replace(feed, resident=None)
    (_, on_device), (_, on_host) = _rows(exp, _copy(state), feed, log_every=1), _rows(exp, state, host, log_every=1)
    np.testing.assert_allclose([r["loss"] for _, r in on_device], [r["loss"] for _, r in on_host], rtol=1e-5)


@pytest.mark.parametrize("mesh", ["data=8", "fsdp=8", "data=2,fsdp=2,model=2"])
def test_sharded_is_single_device(mesh):
    exp = toys.experiment()
    (_, single), (_, sharded) = (_rows(exp, *toys.start(exp, m)[:2], log_every=1) for m in ("data=1", mesh))
    np.testing.assert_allclose([r["loss"] for _, r in single], [r["loss"] for _, r in sharded], rtol=1e-5)


def test_evaluation_is_exact_over_the_padded_last_batch():
    exp = toys.experiment()
    state, _, feed = toys.start(exp)
    whole = dataclasses.replace(exp, data=dataclasses.replace(exp.data, batch_size=21))
    batch = next(whole.data.batches("test"))
    expected = {name: m.compute() for name, m in make_eval(whole)(state, batch).items()}
    assert make_evaluator(exp, feed, "test")(state) == pytest.approx(expected, rel=1e-6)
    out = predict(exp, state, feed, "test")
    assert out["id"].tolist() == list(range(21))
    assert np.mean(out["prediction"] == out["label"]) == pytest.approx(expected["accuracy"])


def test_a_small_step_is_looped_and_a_convolution_is_not_on_a_cpu():
    exp = toys.experiment()
    state, feed, _ = toys.start(exp)
    assert compile_program(exp, state, feed, 0).max_steps > 1

    class Convolution(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Conv(4, (3,), name="conv")(x[..., None]).mean(1)

    conv = dataclasses.replace(exp, model=Convolution())
    state, feed, _ = toys.start(conv)
    assert compile_program(conv, state, feed, 0).max_steps == 1


def test_a_changed_shape_is_an_error_that_names_the_field():
    exp = toys.experiment()
    state, feed, _ = toys.start(exp)

    class Changing(toys.Toy):
        def fetch(self, source, ids):
            batch = super().fetch(source, ids)
            return batch | {"image": np.tile(batch["image"], (1, 2))} if ids[0] == self.train_ids(3, 0)[0][0] else batch

    host = dataclasses.replace(feed, data=Changing(), resident=None)
    said = r'batch\["image"\] of training step 3 is float32\[16,4\].*compiled for float32\[16,2\]'
    with pytest.raises(UserError, match=said):
        fit(exp, state, host)


def test_a_readers_error_reaches_the_loop():
    exp = toys.experiment()
    state, feed, _ = toys.start(exp)

    class Broken(toys.Toy):
        def fetch(self, source, ids):
            if ids[0] == self.train_ids(5, 0)[0][0]:
                raise OSError("disk on fire")
            return super().fetch(source, ids)

    with pytest.raises(OSError, match="disk on fire") as caught:
        fit(exp, state, dataclasses.replace(feed, data=Broken(), resident=None))
    assert "training step 5" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_nan_stops_the_run_at_the_state_before_it(bad, resident):
    """A poisoned example, read first by step `bad`: the first epoch (three steps) reads each example once."""
    exp = toys.experiment()
    state, feed, _ = toys.start(exp)
    feed = feed if resident else dataclasses.replace(feed, resident=None)
    before = fit(exp, _copy(state), feed, num_steps=bad).state
    image = np.array(feed.source.arrays["image"])
    image[exp.data.train_ids(bad, 0)[0, 5]] = np.nan
    source = dataclasses.replace(feed.source, arrays={**feed.source.arrays, "image": image})
    poisoned = make_feed(exp.data, source, feed.mesh) if resident else dataclasses.replace(feed, source=source)
    with pytest.raises(NonFinite) as caught:
        fit(exp, state, poisoned)
    assert toys.same(before.params, caught.value.state.params)
    assert int(caught.value.state.step) == bad
    np.testing.assert_array_equal(caught.value.batch["id"], exp.data.train_ids(bad, 0)[0])
    assert find_origin(exp, caught.value.state, caught.value.batch) == Origin("image", "input", "nan")
