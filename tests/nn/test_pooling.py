"""Pooling by reshape equals `nn.max_pool`, in value and in gradient."""

import flax.linen as nn
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.nn.pooling import adaptive_mean, global_mean, masked_max, masked_mean, max_pool


def distinct(shape):
    return jnp.asarray(np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape), jnp.float32)


def tied(shape):
    """As a ReLU leaves them: windows that hold their maximum several times."""
    return jnp.asarray(np.random.default_rng(1).integers(0, 3, shape), jnp.float32)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(height=st.integers(1, 9), width=st.integers(1, 9), window=st.integers(1, 3), stride=st.integers(1, 3))
def test_equals_flax(height, width, window, stride):
    hypothesis.assume(window <= min(height, width))
    x = distinct((2, height, width, 3))
    expected = nn.max_pool(x, (window, window), (stride, stride))
    np.testing.assert_array_equal(max_pool(x, window, stride), expected)


@pytest.mark.parametrize("images", [distinct, tied])
@pytest.mark.parametrize(("size", "window"), [(4, 2), (5, 2), (6, 3)])
def test_gradient_equals_flax(images, size, window):
    x = images((2, size, size, 3))
    cotangent = jnp.arange(1, 2 * 2 * 2 * 3 + 1, dtype=jnp.float32).reshape(2, 2, 2, 3)
    ours = jax.grad(lambda x: jnp.vdot(max_pool(x, window), cotangent))(x)
    theirs = jax.grad(lambda x: jnp.vdot(nn.max_pool(x, (window, window), (window, window)), cotangent))(x)
    np.testing.assert_array_equal(ours, theirs)


def test_padding_is_minus_infinity():
    x = -jnp.ones((1, 4, 4, 1))
    np.testing.assert_array_equal(max_pool(x, 3, stride=2, padding=((1, 1), (1, 1))), -jnp.ones((1, 2, 2, 1)))


def test_tiling_has_no_select_and_scatter():
    """The reason of this function: the gradient of `reduce_window` is slow on a CPU."""
    gradient = jax.make_jaxpr(jax.grad(lambda x: max_pool(x, 2).sum()))(jnp.ones((1, 8, 8, 1)))
    assert "reduce_window" not in str(gradient)
    assert "select_and_scatter" not in str(gradient)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_each_maximum_passes_its_gradient_on_once(scale):
    """Whatever XLA does to the multiply-add before it: the gradients of a window sum to its cotangent."""
    x = scale * jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    gradient = jax.jit(jax.grad(lambda shift, x: masked_max((x * 1.1 + shift).reshape(2, 36, 3), mask).sum(), 1))
    mask = jnp.ones((2, 36), bool)
    np.testing.assert_allclose(gradient(jnp.float32(0.3), x).sum((1, 2)), np.full((2, 3), 1.1), rtol=1e-6)


def test_global_mean():
    x = jnp.arange(24.0).reshape(2, 2, 2, 3)
    np.testing.assert_allclose(global_mean(x), np.asarray(x).mean((1, 2)), rtol=1e-6)


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(length=st.integers(1, 5), padding=st.integers(0, 3))
def test_masked_pooling_is_pooling_of_what_is_shown(length, padding):
    x = -jnp.abs(distinct((2, length + padding, 3))) - 1
    mask = jnp.broadcast_to(jnp.arange(length + padding)[None, :] < length, (2, length + padding))
    np.testing.assert_array_equal(masked_max(x, mask), x[:, :length].max(1))
    np.testing.assert_allclose(masked_mean(x, mask), x[:, :length].mean(1), rtol=1e-6)


@pytest.mark.parametrize("pool", [masked_max, masked_mean])
def test_pooling_of_nothing_is_zero_with_a_gradient_of_zero(pool):
    value, gradient = jax.value_and_grad(lambda x: pool(x, jnp.zeros((1, 4), bool)).sum())(jnp.ones((1, 4, 2)))
    assert value == 0
    np.testing.assert_array_equal(gradient, jnp.zeros((1, 4, 2)))


@pytest.mark.parametrize("size", [(7, 7), (14, 21), (10, 8), (9, 5), (2, 1)])
def test_adaptive_mean_is_torchs(size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), (7, 7)).numpy()
    np.testing.assert_allclose(adaptive_mean(jnp.asarray(x), (7, 7)), expected.transpose(0, 2, 3, 1), atol=1e-6)
