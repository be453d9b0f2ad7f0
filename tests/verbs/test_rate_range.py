"""The range test finds where the loss falls, changes no state, and is not shifted by schedules."""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from tests import toys


def sgd(learning_rate: float = 1e-2, warm: bool = False) -> dl.Experiment:
    made = toys.experiment(steps=2000, norm=False, dropout=0.0, label_smoothing=0.0, jitter=0.0)
    rate = dl.optim.warmup_cosine(learning_rate, 2000, warmup_fraction=0.5) if warm else learning_rate
    return dataclasses.replace(made, optimizer=optax.sgd(rate))


@pytest.fixture(scope="module")
def found():
    return dl.rate_range(sgd, 1e-3, 1e3, 80)


def test_the_suggestion_is_where_the_loss_falls(found):
    assert 1e-2 < found.suggested < 30
    assert found.values[0] == pytest.approx(1e-3)
    np.testing.assert_allclose(np.diff(np.log(found.values)), np.diff(np.log(found.values))[0])
    assert len(found.values) == len(found.losses) == len(found.smoothed) <= 80
    best = int(np.argmin(found.smoothed))
    assert found.values[best] >= found.suggested
    assert f"suggested learning_rate: {found.suggested:.2g}" in str(found)
    assert "<svg" in found._repr_html_()


def test_a_warm_up_does_not_shift_what_is_found(found):
    """Else the first steps of a schedule, which are near zero, would seem to allow a much larger rate."""
    warm = dl.rate_range(functools.partial(sgd, warm=True), 1e-3, 1e3, 80)
    np.testing.assert_allclose(warm.losses[:40], found.losses[:40], rtol=1e-2)
    assert warm.suggested == pytest.approx(found.suggested, rel=0.5)


def test_the_state_stays_as_it_is():
    state, *_ = toys.start(sgd(), seed=5)
    before = jax.tree.map(lambda x: x.copy(), state)
    first = dl.rate_range(sgd, 1e-3, 1.0, 10, state=state)
    assert toys.same(before, state)
    assert first.losses[0] != dl.rate_range(sgd, 1e-3, 1.0, 10).losses[0]


def test_each_step_is_that_of_a_run(found):
    """A step at a rate is the step of an experiment with that rate."""
    exp = sgd(learning_rate=float(np.float32(found.values[0])))
    state = dl.init(exp, jax.random.key(0))
    batch = exp.data.train_batch(exp.data.open("train"), 0, 0)
    _, metrics = jax.jit(dl.make_step(exp))(state, batch)
    assert found.losses[0] == pytest.approx(jax.device_get(metrics)["loss"].compute(), rel=1e-6)


class Flat(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(4, name="head")(x) * 0.0


def flat(learning_rate: float = 1e-2) -> dl.Experiment:
    return dataclasses.replace(sgd(learning_rate), model=Flat())


def test_what_never_falls_has_no_suggestion():
    found = dl.rate_range(flat, num_steps=10)
    assert found.suggested is None
    assert "never falls" in str(found)


def test_what_is_no_range_is_told():
    with pytest.raises(UserError, match="no float argument 'learning'; did you mean 'learning_rate'"):
        dl.rate_range(toys.experiment, argument="learning")
    with pytest.raises(UserError, match=r"range is 1\.0 to 0\.1"):
        dl.rate_range(toys.experiment, 1.0, 0.1)
    with pytest.raises(UserError, match="num_steps is 3, expected"):
        dl.rate_range(toys.experiment, num_steps=3)
