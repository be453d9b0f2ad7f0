"""Rotations: lengths stay, and products know distances alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.nn.attention.rotary import rotary_angles, rotate


@pytest.fixture(scope="module")
def vectors():
    return jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))  # a query and a key


def at(x, position):
    return rotate(x, rotary_angles(jnp.array([position]), 8))


@pytest.mark.parametrize(("s", "t", "shift"), [(0, 0, 5), (3, 1, 4), (1, 9, 100)])
def test_products_depend_on_the_distance_of_two_positions(vectors, s, t, shift):
    q, k = vectors
    np.testing.assert_allclose(
        jnp.sum(at(q, s) * at(k, t)), jnp.sum(at(q, s + shift) * at(k, t + shift)), rtol=1e-4, atol=1e-5
    )
    assert not np.isclose(jnp.sum(at(q, s) * at(k, t)), jnp.sum(at(q, s) * at(k, t + 1)), atol=1e-3)


def test_lengths_stay_and_position_zero_turns_nothing(vectors):
    q = vectors[0]
    np.testing.assert_allclose(jnp.linalg.norm(at(q, 7)), jnp.linalg.norm(q), rtol=1e-5)
    np.testing.assert_array_equal(at(q, 0), q)
    assert at(q.astype(jnp.bfloat16), 3).dtype == jnp.bfloat16
