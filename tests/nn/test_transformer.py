"""Parts of transformers: the block is its definition, and positions are told apart."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.nn.transformer import Block, FeedForward, sinusoids


def test_block_is_its_definition():
    x, padding = jax.random.normal(jax.random.key(0), (2, 3, 8)), jnp.array([[True, True, False], [True, True, True]])
    attention, feed_forward = SelfAttention(num_heads=2), FeedForward()
    block = Block(attention, feed_forward)
    params = block.init(jax.random.key(1), x, False, padding)["params"]

    def norm(name, x):
        return nn.LayerNorm(epsilon=1e-5).apply({"params": params[name]}, x)

    y = x + attention.apply({"params": params["attention"]}, norm("norm1", x), segment_ids=padding)
    expected = y + feed_forward.apply({"params": params["feed_forward"]}, norm("norm2", y))
    np.testing.assert_allclose(block.apply({"params": params}, x, False, padding), expected, atol=1e-5)


def test_the_angle_between_positions_is_that_of_their_distance():
    """Vaswani et al. 2017, section 3.5: a shift is a rotation, so that products depend on the distance alone."""
    waves = np.asarray(sinusoids(jnp.arange(12), 16))
    products = waves @ waves.T
    for distance in range(12):
        np.testing.assert_allclose(np.diag(products, distance), products[0, distance], rtol=1e-4)
    assert (products[0, 1:] < products[0, 0] - 0.1).all()
    with pytest.raises(ValueError, match="width 5 is odd"):
        sinusoids(jnp.arange(3), 5)
