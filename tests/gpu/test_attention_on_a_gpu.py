"""The attention kernel of cuDNN, wherever the rule chooses it: JAX_PLATFORMS=cuda python -m pytest tests/gpu."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.nn.attention.dot_product import attend
from deeplab.nn.attention.kernels import kernel_of

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs an NVIDIA GPU")

CAUSAL = {"causal": True}
CONSTRAINTS = {"all": {}, "causal": CAUSAL, "window": {"causal": True, "window": 16}}


def heads(B=2, H=4, K=4, T=64, S=None, d=32, dtype=jnp.bfloat16):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = (B, H, T, d), (B, K, S or T, d), (B, K, S or T, d)
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=True)]


def squares(kernel, constraints, q, k, v):
    out = attend(q, k, v, **constraints, kernel=kernel)
    return jnp.mean(out.astype(jnp.float32) ** 2), out


def assert_close(ours, theirs):
    """To the precision of 16 bits."""

    def close(a, b):
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        assert np.abs(a - b).max() <= 2e-2 * max(1e-3, np.abs(b).max())

    jax.tree.map(close, ours, theirs)


@pytest.mark.parametrize("constraints", CONSTRAINTS.values(), ids=CONSTRAINTS)
@pytest.mark.parametrize(
    "shape",
    [
        {"T": 1}, {"T": 7}, {"T": 100}, {"T": 513}, {"K": 1}, {"K": 2, "T": 129}, {"d": 8}, {"d": 40}, {"d": 64},
        {"d": 128}, {"B": 1, "H": 1, "K": 1}, {"dtype": jnp.float16},
    ],
    ids=str,
)  # fmt: skip
def test_values_and_gradients_are_the_products(constraints, shape):
    q, k, v = heads(**shape)
    assert kernel_of(q, k, **constraints) == ("product" if shape.get("T", 0) % 2 else "cudnn")
    chosen, product = (
        jax.jit(jax.value_and_grad(functools.partial(squares, kernel, constraints), (0, 1, 2), has_aux=True))(q, k, v)
        for kernel in (None, "product")
    )
    assert_close(chosen, product)


def test_queries_of_another_length_than_the_keys():
    q, k, v = heads(T=10, S=34)
    assert kernel_of(q, k) == "cudnn"
    assert_close(*(jax.jit(functools.partial(squares, kernel, {}))(q, k, v) for kernel in (None, "product")))


def test_members_side_by_side():
    """As a sweep trains them."""
    q, k, v = (jnp.stack([x, x[::-1]]) for x in heads())
    grads = [
        jax.jit(jax.vmap(jax.grad(functools.partial(squares, kernel, CAUSAL), (0, 1, 2), has_aux=True)))(q, k, v)
        for kernel in (None, "product")
    ]
    assert_close(*grads)
