"""Concepts: a planted one is found, a random one is not, and a vector's score is its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.explain.concepts import _two_sided, concept_test, concept_vector, sensitivity, tcav

D, N, R = 24, 25, 12
HIDDEN = jax.random.normal(jax.random.key(0), (D, 16)) / D**0.5
PLANTED = jnp.eye(D)[3]


def score(h):
    """A network that grows along the planted direction, and waves along others."""
    return jnp.cos(2 * h @ HIDDEN).sum(axis=1) + 3 * jax.nn.relu(h[:, 3] + 4)


@jax.jit
def examined(key, shift):
    of_class, of_concept, of_randoms = jax.random.split(key, 3)
    concept = jax.random.normal(of_concept, (N, D)) + shift * PLANTED[None]
    randoms = jax.random.normal(of_randoms, (R, N, D))
    return concept_test(score, jax.random.normal(of_class, (100, D)), concept, randoms)


@pytest.mark.slow
def test_a_planted_concept_is_found_and_a_random_one_is_not():
    planted = examined(jax.random.key(1), 2.0)
    assert planted.score >= 0.9
    assert planted.p < 0.05
    found = jax.lax.map(lambda key: examined(key, 0.0), jax.random.split(jax.random.key(2), 100))
    assert np.mean(found.p < 0.05) <= 0.1  # 5 %, up to what 100 draws tell
    assert 0.4 < np.median(found.p) < 0.6
    assert np.mean(found.p_of_vectors < 0.05) > 0.3  # of the paper's test, whose draws share the concept


def test_a_vector_is_the_normal_of_the_ridge_classifier():
    keys = jax.random.split(jax.random.key(4), 2)
    concept, others = jax.random.normal(keys[0], (30, 2, 3)) + 1, jax.random.normal(keys[1], (50, 2, 3))
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = np.concatenate([concept, others]).reshape(80, 6)
    alpha = 1e-2 * np.square(x - x.mean(axis=0)).sum() / 6
    expected = linear_model.Ridge(alpha=alpha).fit(x, np.repeat([1.0, -1.0], [30, 50])).coef_
    found = concept_vector(concept, others)
    np.testing.assert_allclose(found, (expected / np.linalg.norm(expected)).reshape(2, 3), atol=1e-4)
    with pytest.raises(UserError, match=r"are \[2, 3\] and of the others \[3\]"):
        concept_vector(concept, others[:, 0])


def test_equal_scores_are_no_evidence():
    """Of 0 by 0: every score is 1 where the score of a class rises along all activations."""
    rng = np.random.default_rng(0)
    randoms, concept = rng.uniform(size=(4, 6, 3)), rng.uniform(size=(6, 3))
    found = concept_test(lambda h: jnp.zeros(len(h)), jnp.ones((5, 3)), concept, jnp.asarray(randoms))
    assert (float(found.score), float(found.p), float(found.p_of_vectors)) == (0, 1, 1)
    assert float(_two_sided(jnp.float32(0.5), jnp.float32(0), jnp.nan)) == 0  # and a sure difference is one
    assert np.isnan(_two_sided(jnp.float32(jnp.nan), jnp.float32(0), 3))


def test_a_score_is_the_fraction_of_rising_examples():
    h, vectors = jax.random.normal(jax.random.key(5), (9, D)), jax.random.normal(jax.random.key(6), (4, D))
    steps = 1e-2 * vectors
    rising = jnp.stack([(score(h + step[None]) - score(h - step[None])) / 2e-2 for step in steps])
    found = sensitivity(score, h, vectors)
    np.testing.assert_allclose(found, rising, atol=2e-2)
    np.testing.assert_array_equal(tcav(score, h, vectors), jnp.mean(found > 0, axis=1))
    with pytest.raises(UserError, match="2 random sets, expected three"):
        concept_test(score, h, h, jnp.stack([h, h]))
