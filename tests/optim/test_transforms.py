"""Clipping, updates at every k-th step, and optimizer state in bfloat16."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab import optim
from deeplab.train.initialize import init
from deeplab.train.step import make_step
from tests import toys


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


def test_every_kth_step_is_the_optimizer_on_those_gradients_alone():
    """In a group of its own; the other group updates at each step."""
    tx = optim.groups({"slow": optim.every(3, optax.adam(0.1)), "fast": optax.adam(0.1)})
    params = {"slow": jnp.ones(2), "fast": jnp.ones(2)}
    state, alone = tx.init(params), {name: optax.adam(0.1).init(params[name]) for name in params}
    for step in range(7):
        grads = jax.tree.map(lambda p, i=step: p * (i + 1) - 2, params)
        updates, new = tx.update(grads, state, params)
        for name in params:
            if name == "slow" and step not in (2, 5):
                assert (updates["slow"] == 0).all()
                inner = [s.inner_states["slow"].inner_state.inner_state for s in (state, new)]
                assert toys.same(*inner)
                continue
            expected, alone[name] = optax.adam(0.1).update(grads[name], alone[name])
            np.testing.assert_array_equal(updates[name], expected)
        state, params = new, optax.apply_updates(params, updates)


def test_state_in_bfloat16_keeps_its_mean():
    """Rounded to the nearest, a second moment of decay 0.999 would stand still."""
    grads = {"w": jnp.linspace(0.5, 2.0, 4000)}
    exact, narrow = optax.adam(1e-3), optim.with_bfloat16_state(optax.adam(1e-3))

    def run(tx):
        def step(state, _):
            updates, state = tx.update(grads, state)
            return state, updates["w"]

        return jax.lax.scan(step, tx.init(grads), length=300)

    (state, wide), (rounded, updates) = jax.jit(lambda: (run(exact), run(narrow)))()
    nu, expected = rounded.inner[0].nu["w"], state[0].nu["w"]
    assert nu.dtype == jnp.bfloat16
    ratio = np.asarray(nu, np.float32) / np.asarray(expected)
    assert abs(ratio.mean() - 1) < 2e-3
    assert ratio.std() < 0.05
    np.testing.assert_allclose(updates[-1].mean(), wide[-1].mean(), rtol=2e-3)


@pytest.mark.slow
def test_training_with_state_in_bfloat16_is_near_that_in_float32():
    experiment = toys.experiment()

    def losses(optimizer):
        exp = dataclasses.replace(experiment, optimizer=optimizer)
        state, step = init(exp, jax.random.key(0)), jax.jit(make_step(exp))
        for batch in exp.data.batches("train"):
            state, metrics = step(state, batch)
            yield metrics["loss"].compute()

    exact, rounded = (list(losses(tx(experiment.optimizer))) for tx in (lambda tx: tx, optim.with_bfloat16_state))
    np.testing.assert_allclose(rounded, exact, rtol=0.02)
    assert rounded != exact
