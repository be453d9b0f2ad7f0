"""Linear bounds of programs: no value outside of them, and never wider than intervals."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deeplab.core.errors import UserError
from deeplab.robust.certify import bounds, linear_bounds
from tests.core.test_intervals import BINARY, KERNEL, UNARY, W, program
from tests.precision import float64

ACTIVATIONS = [jax.nn.relu, jnp.tanh, jax.nn.sigmoid, jax.nn.gelu, lambda x: jax.nn.gelu(x, approximate=False)]
ACTIVATIONS += [jax.nn.silu, jnp.abs, lax.erf, jax.nn.softplus, jnp.sin, lambda x: jnp.exp(-(x**2))]


@pytest.fixture(autouse=True)
def double():
    with float64(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*has no linear bounds")
        yield


def jitted(f):
    return jax.jit(functools.partial(linear_bounds, f))


def violations(f, weights, centers, radii, seed, samples=100):
    """Values outside of either kind of bounds, and bounds that are wider by lines than by intervals.

    Of one program for each row of weights, centers and radii: they are compiled once.
    """
    points = np.random.default_rng(seed).uniform(-1, 1, size=(len(centers), samples, centers.shape[1]))
    points[:, : samples // 4] = np.sign(points[:, : samples // 4])  # corners
    points = centers[:, None] + radii[:, None, None] * points

    @jax.jit
    @jax.vmap
    def run(w, lower, upper, points):
        found = bounds(f, lower, upper, (w,)), linear_bounds(f, lower, upper, (w,))
        return *found, jax.vmap(f, (0, None))(points, w)

    *both, values = jax.tree.map(np.asarray, run(weights, centers - radii[:, None], centers + radii[:, None], points))
    scale = 1e-9 * (1 + np.abs(np.where(np.isfinite(values), values, 0)))
    outside = [(values < low[:, None] - scale) | (values > high[:, None] + scale) for low, high in both]
    by_intervals, by_lines = both
    slack = [1e-9 * (1 + np.abs(np.where(np.isfinite(end), end, 0))) for end in by_intervals]
    wider = (by_lines[0] < by_intervals[0] - slack[0]) | (by_lines[1] > by_intervals[1] + slack[1])
    return int(np.sum(outside)), int(np.sum(wider))


def one(f, center, radius):
    return violations(lambda x, w: f(x), np.zeros((1, 1)), np.asarray(center)[None], np.array([radius]), 0)


def check(i, programs=25):
    """Networks of a random activation, or a random composition of functions with random weights; and a box for each."""
    rng = np.random.default_rng(i)
    centers, weights = rng.normal(size=(programs, 6)), rng.normal(size=(programs, 3, 6, 6)) / 2
    radii, depth, act = rng.choice([0.0, 0.01, 0.1, 0.5, 2.0], programs), rng.integers(1, 4), ACTIVATIONS[i % 11]
    steps = [(bool(rng.integers(2)), *rng.integers(1000, size=3)) for _ in range(rng.integers(1, 4))]

    def network(x, weights):
        for w in weights[:depth]:
            x = act(x @ w + w[0])
        return x @ weights[0]

    def composed(x, weights):
        return program(steps)(x @ weights[0])

    assert violations(network if i % 2 else composed, weights, centers, radii, i) == (0, 0), f"programs {i}"


@pytest.mark.parametrize("i", [i if i in (1, 2) else pytest.param(i, marks=pytest.mark.slow) for i in range(40)])
def test_no_value_of_random_programs_is_outside_of_their_lines(i):
    """100,000 points in 1,000 boxes of as many programs, of which fifty are run every day."""
    check(i)


@pytest.mark.slow
@pytest.mark.parametrize("i", range(len(UNARY) + len(BINARY)))
def test_each_function_is_within_its_lines(i):
    f = [*UNARY, *[lambda x, g=g: g(x, x[::-1]) for g in BINARY]][i]
    assert one(f, np.random.default_rng(i).normal(size=6), 1.0) == (0, 0)


@pytest.mark.parametrize(
    "act", [jax.nn.relu, *(pytest.param(f, marks=pytest.mark.slow) for f in (jnp.tanh, jax.nn.gelu))]
)
def test_a_perceptron_is_bounded_more_tightly(act):
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(6, 6)) / 2 for _ in range(2)]

    def f(x):
        for w in layers:
            x = act(x @ w)
        return x @ W

    x = jnp.asarray(rng.normal(size=6))
    kinds = (bounds, linear_bounds, functools.partial(linear_bounds, intermediate="interval"))
    by_intervals, by_lines, mixed = jax.jit(lambda *ends: [kind(f, *ends) for kind in kinds])(x - 0.5, x + 0.5)
    widths = [np.mean(found.upper - found.lower) for found in (by_lines, mixed, by_intervals)]
    assert widths[0] < widths[1] < 0.98 * widths[2]
    assert widths[0] < 0.8 * widths[2]


@pytest.mark.slow
def test_a_convolutional_network_is_bounded_more_tightly():
    dims = ("NWC", "WIO", "NWC")

    def f(x):
        y = lax.conv_general_dilated(x[None, :, None], KERNEL, (1,), "SAME", dimension_numbers=dims)
        y = lax.reduce_window(jax.nn.relu(y), -jnp.inf, lax.max, (1, 2, 1), (1, 2, 1), "VALID")
        return jax.nn.relu(y.reshape(6) @ W) @ W

    x = jnp.asarray(np.random.default_rng(3).normal(size=6))
    assert one(f, x, 0.3) == (0, 0)
    by_intervals, by_lines = jax.jit(lambda *ends: (bounds(f, *ends), linear_bounds(f, *ends)))(x - 0.3, x + 0.3)
    assert np.mean(by_lines.upper - by_lines.lower) < 0.6 * np.mean(by_intervals.upper - by_intervals.lower)


def test_crown_by_hand():
    """One hidden unit that may be active: 0 <= relu(h) <= u (h - l) / (u - l); another that always is."""
    f = lambda x: jax.nn.relu(x[0] + x[1]) + jax.nn.relu(x[0] + 3.0) - 2 * x[0]  # noqa: E731
    found = jitted(f)(jnp.array([-1.0, -1.0]), jnp.array([1.0, 2.0]))
    # h in [-2, 3]: below, h itself, as u > -l: x1 + 3 >= 2; above, 0.6 (h + 2) + x0 + 3 - 2 x0 <= 0.4 + 1.2 + 1.2 + 3.
    np.testing.assert_allclose([found.lower, found.upper], [2.0, 5.8], rtol=1e-12)


def test_what_is_affine_is_exact():
    """All that shares x is added up before it meets the box."""
    f = lambda x: jnp.concatenate([(3 * x - x[::-1]) @ W - (2 * x) @ W, x - x])  # noqa: E731
    x = jnp.asarray(np.random.default_rng(0).normal(size=6))
    found = jitted(f)(x - 0.5, x + 0.5)
    radius = 0.5 * np.abs(jax.jacobian(f)(x)).sum(axis=1)
    np.testing.assert_allclose([found.lower, found.upper], [f(x) - radius, f(x) + radius], rtol=1e-9, atol=1e-12)


def test_it_is_differentiated_and_jitted():
    f = lambda x, w: (jax.nn.relu(jax.nn.relu(x @ w) @ W)).sum()  # noqa: E731
    x, w = jnp.linspace(-1, 1, 6), jnp.asarray(np.random.default_rng(4).normal(size=(6, 6)))
    upper = jax.jit(lambda w: linear_bounds(f, x - 0.1, x + 0.1, (w,)).upper)
    step = 1e-6 * jnp.asarray(np.random.default_rng(5).normal(size=(6, 6)))
    slope = (upper(w + step) - upper(w - step)) / 2
    np.testing.assert_allclose(jnp.vdot(jax.grad(upper)(w), step), slope, rtol=1e-6)


def test_what_has_no_lines_is_named_and_bounded_by_intervals():
    with pytest.warns(UserWarning, match="`sort` in order has no linear bounds"):
        found = linear_bounds(jax.named_scope("order")(jnp.sort), -jnp.ones(3), jnp.ones(3))
    assert [end.tolist() for end in found] == [[-1.0] * 3, [1.0] * 3]
    with pytest.raises(NotImplementedError, match="`reduce_prod` in product has no bounds; write"):
        linear_bounds(jax.named_scope("product")(jnp.prod), jnp.zeros(3), jnp.ones(3))


@pytest.mark.parametrize("kind", [bounds, linear_bounds])
def test_an_empty_box_is_refused(kind):
    with pytest.raises(UserError, match=r"the lower bound 2.0 at \(1,\) is above the upper 1.0"):
        kind(jnp.sin, jnp.array([0.0, 2.0]), jnp.ones(2))
    with pytest.raises(UserError, match="give equal ones"):
        kind(jnp.sin, jnp.zeros(3), jnp.ones(2))


def test_another_gelu_is_not_taken_for_the_known_one():
    """It is told by its program, not by its name."""

    @jax.jit
    def gelu(x):
        return 10 * jnp.sin(x)

    assert one(gelu, np.zeros(6), 2.0) == (0, 0)
