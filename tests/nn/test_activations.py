"""Laws of the table of activations, each a test over all its rows."""

import itertools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deeplab.nn import activations
from deeplab.nn.activations import ACTIVATIONS

each = pytest.mark.parametrize("name", ACTIVATIONS)
PAIRED = [name for name, activation in ACTIVATIONS.items() if activation.inputs == 2]
values = hnp.arrays(np.float32, 16, elements=st.floats(-1e4, 1e4, width=32))
GRID = np.linspace(-20, 20, 100_001, dtype=np.float32)


def test_every_name_is_a_choice():
    assert typing.get_args(activations.Name) == tuple(ACTIVATIONS)
    assert PAIRED == ["glu", "bilinear", "reglu", "geglu", "swiglu", "maxout"]


@each
def test_values_fill_the_range(name):
    activation = ACTIVATIONS[name]
    near = GRID if activation.inputs == 1 else np.stack([GRID, GRID[::-1]], axis=1)
    far = np.array(list(itertools.product([-1e4, 1e4], repeat=activation.inputs)), np.float32)
    y = np.concatenate([np.ravel(activation.function(x)) for x in (near, far)])
    for bound, reached in ((activation.low, y.min()), (activation.high, y.max())):
        assert abs(reached - bound) < 2e-4 if np.isfinite(bound) else np.sign(bound) * reached > 50


@settings(max_examples=8, deadline=None)
@given(x=values)
@each
def test_any_value_is_in_the_range(name, x):
    activation = ACTIVATIONS[name]
    y = np.asarray(activation.function(x))
    assert y.shape == (16 // activation.inputs,)
    assert np.all((y >= activation.low - 2e-5) & (y <= activation.high + 2e-5))


@each
def test_gradients_are_finite_everywhere(name):
    """At 0, at kinks, and far out; at infinity's neighborhood exponentials would overflow."""
    activation = ACTIVATIONS[name]
    x = np.array([0.0, -0.0, 1, -1, 3, -3, 6, 0.5, -0.5, 1e-30, 88, -88, 104, -104, 1e4, -1e4], np.float32)
    gradient = jax.jit(jax.grad(lambda x: activation.function(x).sum()))
    assert np.all(np.isfinite(gradient(x)))
    assert np.all(np.isfinite(gradient(x[::-1])))


@each
def test_monotone_is_what_never_falls(name):
    activation = ACTIVATIONS[name]
    if activation.inputs == 1:
        rises = np.diff(np.asarray(jax.jit(activation.function)(GRID)))
        assert (rises.min() > -1e-5) == activation.monotone
    else:
        a, b = np.meshgrid(np.linspace(-3, 3, 61), np.linspace(-3, 3, 61), indexing="ij")
        y = np.asarray(activation.function(np.stack([a, b], axis=-1).astype(np.float32)))[..., 0]
        assert (min(np.diff(y, axis=0).min(), np.diff(y, axis=1).min()) > -1e-5) == activation.monotone


@each
def test_the_gain_keeps_the_variance(name):
    """By Monte Carlo, and to the digits that the table gives by quadrature."""
    activation = ACTIVATIONS[name]
    z = np.random.default_rng(0).standard_normal((50_000, activation.inputs), np.float32)
    square = np.square(activation.gain * np.asarray(activation.function(z), np.float64))
    error = square.std() / np.sqrt(square.size) + 1e-12
    assert abs(square.mean() - 1) < 4.5 * error + 1e-3
    assert activation.gain == pytest.approx(activations.moments(activation)[0] ** -0.5, abs=6e-5)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("identity", 1),  # LeCun
        ("relu", np.sqrt(2)),  # He
        ("leaky_relu", np.sqrt(2 / (1 + 0.01**2))),
        ("prelu", np.sqrt(2 / (1 + 0.25**2))),
        ("selu", 1),  # made for it
        ("squared_relu", np.sqrt(2 / 3)),
        ("sine", np.sqrt(2 / (1 - np.exp(-2)))),
        ("gaussian", 3**0.25),
        ("maxout", 1),
    ],
)
def test_gains_that_are_known(name, known):
    assert ACTIVATIONS[name].gain == pytest.approx(known, abs=6e-5)


@pytest.mark.parametrize(("name", "chi"), [("identity", 1), ("relu", 1), ("maxout", 1), ("squared_relu", 4 / 3)])
def test_gradient_factors_that_are_known(name, chi):
    assert activations.gradient_factor(ACTIVATIONS[name]) == pytest.approx(chi, rel=2e-3)


@pytest.mark.parametrize("name", ["relu", "tanh", "glu"])
def test_pre_activations_keep_their_variance_through_layers(name):
    """What the gain promises, in a network: four layers of 512, of inputs of variance 1."""
    activation = ACTIVATIONS[name]
    init = activations.kernel_init(activation)
    z = jax.random.normal(jax.random.key(0), (256, 512 * activation.inputs))
    for layer in range(4):
        kernel = init(jax.random.key(layer + 1), (512, 512 * activation.inputs))
        z = jnp.dot(activation.function(z), kernel)
        assert float(jnp.mean(z**2)) == pytest.approx(1, abs=0.2)


def test_the_scale_of_an_initialization_may_be_traced():
    relu = ACTIVATIONS["relu"]

    def deviation(scale):
        return jnp.std(activations.kernel_init(relu, scale)(jax.random.key(0), (200, 200)))

    found = jax.jit(jax.vmap(deviation))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(found, np.sqrt(2 / 200) * np.array([1.0, 2.0]), rtol=0.02)


def test_halves_are_gated_along_the_last_axis():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(ACTIVATIONS["bilinear"].function(x), x[:, :2] * x[:, 2:])
    np.testing.assert_array_equal(ACTIVATIONS["maxout"].function(x[:, ::-1]), x[:, ::-1][:, :2])
