"""Rectifiers with other backward passes, wherever they are in a program, and without their kink."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deeplab.explain.rectified import deconvolution, guided_backpropagation, softened

W = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)


def unrolled(x, relu):
    for _ in range(3):
        x = relu(x @ W)
    return x @ W[0]


def scanned(x):
    return lax.scan(lambda x, _: (jax.nn.relu(x @ W), None), x, None, length=3)[0] @ W[0]


def branched(x):
    x = lax.cond(x.sum() > -99, jax.nn.relu, jnp.sin, x @ W)
    return jax.checkpoint(lambda x: jax.jit(jax.nn.relu)(jax.nn.relu(x @ W) @ W) @ W[0])(x)


PROGRAMS = {
    "module": lambda x: unrolled(x, jax.nn.relu),
    "maximum": lambda x: unrolled(x, lambda x: jnp.maximum(0, x)),
    "zeros": lambda x: unrolled(x, lambda x: jnp.maximum(x, jnp.zeros_like(x))),
    "scan": scanned,
    "branch": branched,
}


def inputs():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)


def by_hand(x, guided):
    outs, g = [], np.repeat(W[None, 0], len(x), axis=0)
    for _ in range(3):
        outs.append(x @ W)
        x = np.maximum(outs[-1], 0)
    for z in reversed(outs):
        g = (np.maximum(g, 0) * ((z > 0) | (not guided))) @ W.T
    return g


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("method", [guided_backpropagation, deconvolution])
def test_by_hand_wherever_the_rectifier_is(method, name):
    x, f = inputs(), PROGRAMS[name]
    expected = by_hand(np.asarray(x), method is guided_backpropagation)
    np.testing.assert_allclose(jax.jit(lambda x: method(f, x).values)(x), expected, rtol=1e-4, atol=1e-5)


def test_only_rectifiers_are_replaced():
    """A maximum of two things, and one with another constant, have their derivative."""
    f = lambda x: -jnp.sum(jnp.maximum(x, 0.5) + jnp.maximum(x, 2 * x) + jnp.clip(x, -1, 1), axis=1)  # noqa: E731
    x = inputs()
    np.testing.assert_allclose(guided_backpropagation(f, x).values, jax.grad(lambda x: f(x).sum())(x), rtol=1e-6)


@pytest.mark.parametrize("name", PROGRAMS)
def test_softened_is_softplus(name):
    x, beta = inputs(), 3.0
    soft = lambda x: unrolled(x, lambda x: jax.nn.softplus(beta * x) / beta)  # noqa: E731
    if name != "branch":
        np.testing.assert_allclose(jax.jit(softened(PROGRAMS[name], beta))(x), soft(x), rtol=1e-5)
    np.testing.assert_allclose(softened(PROGRAMS[name], 1e4)(x), PROGRAMS[name](x), rtol=1e-3, atol=1e-2)


def test_softened_leaves_constants_and_pytrees():
    f = lambda x: {"a": jnp.clip(x, -1, 1) + jnp.maximum(jnp.float32(2.0), 2.0), "b": jnp.argmax(x)}  # noqa: E731
    found = softened(f, 5.0)(jnp.array([0.0, 3.0]))
    np.testing.assert_allclose(found["a"][0], 2 + np.log1p(np.exp(-5.0)) / 5 - np.log1p(np.exp(-5.0)) / 5, atol=2e-3)
    assert int(found["b"]) == 1


def test_the_gradient_of_its_gradient_is_not_zero():
    x = inputs()[:1]
    curvature = jax.hessian(lambda x, f: f(x)[0])
    assert not np.any(curvature(x, PROGRAMS["module"]))
    assert np.abs(curvature(x, softened(PROGRAMS["module"], 5.0))).max() > 0.1
