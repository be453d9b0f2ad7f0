"""Schedules: peak x unit shape; every float may be a tracer."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab import optim

PARAMS = {
    "block1": {"dense": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}, "norm": {"scale": jnp.ones((2, 4))}},
    "embed": {"embedding": jnp.ones((5, 3))},
    "head": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
}
SCHEDULES = [optim.warmup_cosine, optim.warmup_linear]


@functools.partial(jax.jit, static_argnums=0)
def _rates(schedule, peak, num_steps, fraction, end):
    return schedule(peak, num_steps, warmup_fraction=fraction, end=end)(jnp.arange(310))


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(
    num_steps=st.integers(1, 300),
    fraction=st.floats(0, 0.9),
    end=st.floats(0, 1),
    peak=st.floats(1e-4, 10),
)
@settings(max_examples=15, deadline=None)
def test_schedule_rises_to_its_peak_and_falls_to_its_end(schedule, num_steps, fraction, end, peak):
    steps = np.arange(310)
    rate = np.asarray(_rates(schedule, peak, num_steps, fraction, end))
    warmup = fraction * num_steps
    rising = steps < np.floor(warmup) - 1
    assert (np.diff(rate)[rising[:-1]] > 0).all()
    assert (np.diff(rate)[steps[:-1] > warmup + 1] <= 1e-6 * peak).all()
    assert rate[0] > 0
    assert rate.max() <= peak * (1 + 1e-6)
    np.testing.assert_allclose(rate[num_steps:], end * peak, atol=1e-6 * peak)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_climbs_in_equal_steps_from_the_first(schedule):
    expected = [0.5, 1.0, 1.5, 2.0]  # 2 (t + 1) / (3 + 1)
    np.testing.assert_allclose(schedule(2.0, 20, warmup_steps=3)(jnp.arange(4)), expected, rtol=1e-6)
    np.testing.assert_allclose(optim.constant(2.0, 3)(jnp.arange(6)), [*expected, 2.0, 2.0], rtol=1e-6)


def test_cosine_is_optax_cosine_without_warmup():
    ours = optim.warmup_cosine(3e-3, 50, warmup_steps=0, end=0.1)(jnp.arange(60))
    np.testing.assert_allclose(ours, optax.cosine_decay_schedule(3e-3, 50, alpha=0.1)(jnp.arange(60)), rtol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_traces_all_its_floats(schedule):
    floats = jnp.array([[1e-3, 0.1, 0.0], [0.5, 0.3, 0.2]])  # peak, warm-up, end

    def rates(f):
        return schedule(f[0], 40, warmup_fraction=f[1], end=f[2])(jnp.arange(50))

    for row, traced in zip(floats, jax.vmap(rates)(floats), strict=True):
        peak, fraction, end = map(float, row)
        np.testing.assert_allclose(
            traced, schedule(peak, 40, warmup_fraction=fraction, end=end)(jnp.arange(50)), rtol=1e-5, atol=1e-9
        )


def _optimizer(peak, decay, norm, fraction):
    rate = optim.warmup_cosine(peak, 10, warmup_fraction=fraction)
    return optax.chain(optim.clip(norm), optax.adamw(rate, weight_decay=decay, mask=optim.matrices_only))


def test_population_of_optimizers_is_its_members():
    @jax.jit
    def train(floats):
        tx = _optimizer(*floats)
        params, state = PARAMS, tx.init(PARAMS)
        for _ in range(3):
            updates, state = tx.update(jax.tree.map(lambda p: 3 * p - 1, params), state, params)
            params = optax.apply_updates(params, updates)
        return params

    floats = jnp.array([[1e-2, 0.1, 1.0, 0.1], [1e-1, 0.0, 0.3, 0.5], [0.0, 1.0, 9.0, 0.0]])
    together = jax.vmap(train)(floats)
    for i, row in enumerate(floats):
        alone = train(row)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5), together, alone)
