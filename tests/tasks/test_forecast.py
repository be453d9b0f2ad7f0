"""Forecasting metrics are their definitions, over all windows; quantiles end up where they belong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from deeplab.core.errors import UserError
from deeplab.tasks import Forecasting
from deeplab.tasks.forecast import pinball

KEY = jax.random.key(0)

LEVELS = (0.1, 0.5, 0.8)


def batch(size=5, outputs=3, seed=0):
    """A batch whose last example is padding; and a model that gives fixed outputs."""
    rng = np.random.default_rng(seed)
    given = rng.normal(size=(size, 4, 2, outputs)).astype(np.float32)
    weight = (np.arange(size) < size - 1).astype(np.float32)
    target = rng.normal(size=(size, 4, 2)).astype(np.float32)
    made = {"history": jnp.zeros((size, 7, 2)), "target": jnp.asarray(target), "weight": jnp.asarray(weight)}
    return made, lambda *inputs, train=False, key=None: (jnp.asarray(given), {}), given


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4, unique=True), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_pinball_is_the_librarys(levels, seed):
    rng = np.random.default_rng(seed)
    outputs, target = rng.normal(size=(6, len(levels))), rng.normal(size=6)
    theirs = np.mean([mean_pinball_loss(target, outputs[:, i], alpha=q) for i, q in enumerate(levels)])
    np.testing.assert_allclose(
        np.mean(pinball(jnp.asarray(outputs), jnp.asarray(target), tuple(levels))), theirs, rtol=1e-5
    )


def test_pinball_of_integer_targets_keeps_its_levels():
    """Counts, such as a table's, have a dtype in which every level is 0."""
    outputs, counts = jnp.array([[0.0, 4.0], [9.0, 1.0]]), jnp.array([2, 3])
    expected = pinball(outputs, counts.astype(jnp.float32), (0.25, 0.75))
    np.testing.assert_array_equal(pinball(outputs, counts, (0.25, 0.75)), expected)
    assert expected.tolist() == [0.5, 3.0]


def test_a_point_forecast():
    made, apply, given = batch(outputs=1)
    metrics = {name: metric.compute() for name, metric in Forecasting().metrics(apply, made, KEY).items()}
    errors = (given[..., 0] - made["target"])[:-1]
    expected = {"loss": (errors**2).mean(), "mse": (errors**2).mean(), "mae": abs(errors).mean()}
    assert metrics == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-5)
    loss = Forecasting().loss(apply, made, jax.random.key(0))
    assert loss.loss.compute() == pytest.approx(metrics["mse"], rel=1e-5)
    assert loss.metrics["mae"].compute() == pytest.approx(metrics["mae"], rel=1e-5)
    told = Forecasting().predict(apply, made, KEY)
    np.testing.assert_array_equal(told["forecast"], given[..., 0])
    assert "quantiles" not in told


def test_quantiles_are_put_in_order_and_the_middle_one_is_the_point():
    made, apply, given = batch()
    task, ordered = Forecasting(LEVELS), np.sort(given, axis=-1)
    assert task.outputs == 3
    told = task.predict(apply, made, KEY)
    np.testing.assert_array_equal(told["quantiles"], ordered)
    np.testing.assert_array_equal(told["forecast"], ordered[..., 1])
    metrics = {name: metric.compute() for name, metric in task.metrics(apply, made, KEY).items()}
    target = np.asarray(made["target"])
    inside = ((ordered[..., 0] <= target) & (target <= ordered[..., 2]))[:-1]
    assert metrics["coverage"] == pytest.approx(inside.mean())
    assert metrics["mae"] == pytest.approx(np.abs(ordered[..., 1] - target)[:-1].mean(), rel=1e-5)
    assert metrics["loss"] <= task.loss(apply, made, jax.random.key(0)).loss.compute() + 1e-6


def test_the_loss_finds_the_quantiles():
    """The minimum over constants is the empirical quantile."""
    sample = jnp.asarray(np.random.default_rng(0).exponential(size=400), jnp.float32)
    grid = jnp.linspace(0, 4, 401)
    losses = jax.vmap(lambda f: jnp.mean(pinball(jnp.full((400, 1), f), sample, (0.8,))))(grid)
    assert grid[jnp.argmin(losses)] == pytest.approx(np.quantile(sample, 0.8), abs=0.02)


@pytest.mark.parametrize("levels", [(0.5, 0.5), (0.9, 0.1)])
def test_levels_must_rise(levels):
    with pytest.raises(UserError, match="expected increasing levels"):
        Forecasting(levels)


@pytest.mark.parametrize("levels", [(0.0, 0.5), (0.5, 1.0)])
def test_levels_are_probabilities(levels):
    with pytest.raises(UserError, match="above 0 and below 1"):
        Forecasting(levels)
