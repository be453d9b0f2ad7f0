"""Dropout of attention probabilities in the composed models: as transformers drops, of a softmax, without a new sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.text.encoders import bert
from deeplab.nn.attention.cache import Reading
from deeplab.nn.attention.grouped import GroupedQueryAttention

T, RATE = 6, 0.3
X = jnp.eye(T)[None]


def weights(rate, train, key):
    """The weights of one head whose values are the unit vectors [T, T]."""
    layer = GroupedQueryAttention(1, 1, causal=False, dropout=rate)
    drawn = jax.random.normal(jax.random.key(5), (2, T, T))
    kernels = {"query": drawn[0], "key": drawn[1], "value": jnp.eye(T), "out": jnp.eye(T)}
    params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
    return layer.apply({"params": params}, X, Reading(jnp.arange(T)), None, train, rngs={"dropout": key})[0]


def test_a_weight_is_dropped_or_grows():
    whole = weights(0.0, False, jax.random.key(0))
    np.testing.assert_array_equal(weights(0.0, True, jax.random.key(1)), whole)
    np.testing.assert_array_equal(weights(RATE, False, jax.random.key(1)), whole)
    dropped = jax.jit(jax.vmap(lambda key: weights(RATE, True, key)))(jax.random.split(jax.random.key(2), 4000))
    gone = dropped == 0
    np.testing.assert_allclose(dropped, np.where(gone, 0, whole / (1 - RATE)), rtol=1e-5)
    assert abs(gone.mean() - RATE) < 0.01
    # The standard error of the mean of 4,000 is w sqrt(p / (1 - p) / 4000), about 0.01 w.
    np.testing.assert_allclose(dropped.mean(axis=0), whole, rtol=0.06)


@pytest.mark.parametrize("train", [False, True])
def test_bert_drops_in_training_alone(train):
    plain = bert.Bert(vocab_size=9, num_classes=3, **bert.VARIANTS["test"])
    drops = bert.Bert(vocab_size=9, num_classes=3, attention_dropout=0.5, **bert.VARIANTS["test"])
    tokens, key = jnp.array([[1, 2, 3, 4, 5, 6]]), jax.random.key(1)
    variables = jax.jit(plain.init)(jax.random.key(0), tokens)
    # Larger kernels: the first weights are so small that all scores are nearly equal.
    variables = jax.tree.map(lambda p: p * 20 if p.ndim > 1 else p, variables)
    found = [model.apply(variables, tokens, train=train, rngs={"dropout": key}) for model in (plain, drops)]
    assert (np.abs(found[1] - found[0]).max() > 1e-3) == train
