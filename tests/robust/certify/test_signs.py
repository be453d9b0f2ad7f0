"""Signs of attributions that hold in a ball: never contradicted by a point of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.explain import gradient, input_x_gradient
from deeplab.robust.certify import certified_signs

RNG = np.random.default_rng(0)
W1, W2, W3 = (jnp.asarray(RNG.normal(size=size) / 3, jnp.float32) for size in ((16, 12), (12, 8), (8, 3)))
X = jnp.asarray(RNG.uniform(size=(4, 16)), jnp.float32)


def network(x):
    return jax.nn.relu(jax.nn.relu(x @ W1 + 0.1) @ W2 + 0.1) @ W3


@pytest.mark.parametrize("times_input", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_no_point_of_the_ball_contradicts_a_sign(times_input):
    method = input_x_gradient if times_input else gradient
    kinds = ("interval", "linear")
    by_intervals, by_lines = jax.jit(
        lambda x: [certified_signs(network, x, 0.01, 1, times_input=times_input, method=kind) for kind in kinds]
    )(X)
    np.testing.assert_allclose(by_lines.values, method(network, X, 1).values, atol=1e-6)
    points = np.clip(X[None] + RNG.uniform(-0.01, 0.01, size=(1000, *X.shape)), 0, 1).astype(np.float32)
    reached = method(network, jnp.asarray(points.reshape(-1, 16)), 1).values.reshape(points.shape)
    for found in (by_intervals, by_lines):
        assert np.all(reached >= found.lower[None] - 1e-6)
        assert np.all(reached <= found.upper[None] + 1e-6)
        assert np.all((jnp.sign(reached) == found.sign[None]) | (found.sign[None] == 0))
        np.testing.assert_array_equal(found.sign, np.where(found.lower > 0, 1, np.where(found.upper < 0, -1, 0)))
    assert 0.2 < np.mean(by_intervals.share(5)) <= np.mean(by_lines.share(5))
    assert np.all(np.abs(by_lines.sign) >= np.abs(by_intervals.sign))


@pytest.mark.slow
def test_lines_certify_more_signs():
    kinds = ("interval", "linear")
    by_intervals, by_lines = jax.jit(lambda x: [certified_signs(network, x, 0.03, 1, method=k) for k in kinds])(X)
    assert np.sum(np.abs(by_lines.sign)) > np.sum(np.abs(by_intervals.sign))


def test_the_share_is_of_the_largest_by_hand():
    """The weights of a linear score are its gradient, whatever the ball; a pixel that may be 0 has no certain part."""
    f = lambda x: x @ jnp.array([4.0, -3.0, 2.0, 1.0])  # noqa: E731
    found = certified_signs(f, jnp.array([[0.05, 0.5, 0.05, 0.9]]), 0.1, method="interval")
    assert found.sign.tolist() == [[0, -1, 0, 1]]  # times the input: 0.2, -1.5, 0.1, 0.9
    assert [float(found.share(top)[0]) for top in (1, 2, 3, 4)] == [1.0, 1.0, pytest.approx(2 / 3), 0.5]
    with pytest.raises(UserError, match="top=5 features of 4 were asked for"):
        found.share(5)
    assert certified_signs(f, found.values, 0.1, times_input=False, method="interval", limits=None).sign.tolist() == [
        [1, -1, 1, 1]
    ]


@pytest.mark.slow
def test_a_convolutional_network():
    model = dl.models.CNN(3, widths=(4,), hidden=8)
    x = jnp.asarray(RNG.uniform(size=(2, 8, 8, 1)), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    f = lambda x: model.apply(variables, x)  # noqa: E731
    found = jax.jit(lambda x: certified_signs(f, x, 0.002, 0, times_input=False, method="interval"))(x)
    points = np.clip(x[None] + RNG.uniform(-0.002, 0.002, size=(200, *x.shape)), 0, 1).astype(np.float32)
    reached = gradient(f, jnp.asarray(points.reshape(-1, 8, 8, 1)), 0).values.reshape(points.shape)
    assert np.all((reached >= found.lower[None] - 1e-6) & (reached <= found.upper[None] + 1e-6))
    assert np.mean(np.abs(found.sign)) > 0.2


def test_bad_input_is_told():
    with pytest.raises(UserError, match=r"radius is -0\.1, expected 0 or more"):
        certified_signs(network, X, -0.1, 1)
    with pytest.raises(UserError, match="expected 0 to 1, before their normalization"):
        certified_signs(network, 9 * X, 0.1, 1)
