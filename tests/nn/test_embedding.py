"""Bags of features: the mean of those that are there."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.nn.embedding import BagEmbedding

LAYER = BagEmbedding(num_features=9, width=4)
TABLE = jax.random.normal(jax.random.key(0), (9, 4))
FEATURES = st.lists(st.integers(0, 8), min_size=3, max_size=3)


@settings(max_examples=20, deadline=None)
@given(st.lists(FEATURES, min_size=2, max_size=2))
def test_a_token_is_the_mean_of_its_features(tokens):
    vectors, mask = LAYER.apply({"params": {"embedding": TABLE}}, jnp.array([tokens]))
    assert mask[0].tolist() == [token[0] > 0 for token in tokens]
    for token, vector in zip(tokens, vectors[0], strict=True):
        expected = np.mean([TABLE[f] for f in token if f], axis=0) if token[0] else np.zeros(4)
        np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-6)


def test_padding_is_not_learned():
    def total(table):
        return LAYER.apply({"params": {"embedding": table}}, jnp.array([[[3, 0], [0, 0]]]))[0].sum()

    gradient = jax.grad(total)(TABLE)
    assert np.flatnonzero(np.abs(gradient).sum(1)).tolist() == [3]
