"""Schedules are peak x unit shape; masks and groups go by name; every float may be a tracer."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deeplab as dl
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


@given(st.floats(1e-3, 100), st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2))
@settings(max_examples=25, deadline=None)
def test_clip_is_optax_clip(norm, gradient):
    updates = {"a": jnp.array(gradient[0]), "b": jnp.array(gradient[1:])}
    ours, _ = optim.clip(norm).update(updates, optax.EmptyState())
    theirs, _ = optax.clip_by_global_norm(norm).update(updates, optax.EmptyState())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-20), ours, theirs)


def test_clip_keeps_the_dtype_under_a_traced_norm():
    clipped = jax.jit(lambda n: optim.clip(n).update({"w": jnp.full(4, 2.0, jnp.bfloat16)}, optax.EmptyState())[0])(1.0)
    assert clipped["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(clipped["w"].astype(jnp.float32), 0.5)


def test_matrices_only_spares_biases_and_norms():
    mask = optim.matrices_only(PARAMS)
    assert mask["block1"] == {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    assert mask["embed"]["embedding"]
    assert mask["head"] == {"kernel": True, "bias": False}


def test_groups_train_by_the_first_pattern_and_freeze():
    tx = optim.groups(
        {
            "^head/": optax.sgd(1.0),
            "kernel": optax.adamw(0.1, mask=optim.matrices_only),
            ".*": optax.set_to_zero(),
        }
    )
    state = tx.init(PARAMS)
    updates, _ = tx.update(PARAMS, state, PARAMS)
    assert (updates["head"]["kernel"] == -1).all()
    assert (updates["block1"]["dense"]["kernel"] < 0).all()
    assert (updates["block1"]["dense"]["bias"] == 0).all()
    assert (updates["embed"]["embedding"] == 0).all()


def test_groups_name_a_parameter_without_a_group():
    with pytest.raises(dl.UserError, match=r"block1/dense/bias.*end with"):
        optim.groups({"^head/": optax.sgd(1.0)}).init(PARAMS)


def test_averaged_is_the_average_and_leaves_the_inner_optimizer_alone():
    params, grads = {"w": jnp.arange(3.0)}, {"w": jnp.ones(3)}
    inner, outer = optax.adam(0.1), optim.averaged(optax.adam(0.1), decay=0.5)
    state, averaging, plain = inner.init(params), outer.init(params), params
    expected = params["w"]
    for t in range(1, 6):
        updates, state = inner.update(grads, state, plain)
        updates2, averaging = outer.update(grads, averaging, plain)
        np.testing.assert_array_equal(updates["w"], updates2["w"])
        plain = optax.apply_updates(plain, updates)
        kept = min(0.5, t / (t + 9))
        expected = kept * expected + (1 - kept) * plain["w"]
    np.testing.assert_allclose(optim.average_of(averaging)["w"], expected, rtol=1e-6)
    chained = optax.chain(optim.clip(1.0), outer).init(params)
    np.testing.assert_array_equal(optim.average_of(chained)["w"], params["w"])
    assert optim.average_of(state, "none") == "none"
