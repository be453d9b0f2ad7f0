"""Bounds of programs: no value outside them, and no wider than they need be where an equation is alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from deeplab.core.abstract.intervals import bounds
from deeplab.core.errors import UserError
from tests.precision import float64

W = np.random.default_rng(1).normal(size=(6, 6))
KERNEL = np.random.default_rng(2).normal(size=(3, 1, 2))


def convolved(x):
    dims = ("NWC", "WIO", "NWC")
    y = lax.conv_general_dilated(x[None, :, None], KERNEL.astype(x.dtype), (1,), "SAME", dimension_numbers=dims)
    y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 1), (1, 2, 1), "VALID")
    return y.reshape(6)


def scanned(x):
    return lax.scan(lambda h, row: (jnp.tanh(h + row), h * row), jnp.zeros(()), x)[1]


def counted(x):
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1]) * 2), (0, x))[1]


def branched(x):
    return lax.cond(x[0] > 0, jnp.sin, lambda x: x[::-1] * 2, x)


UNARY = [
    *(jnp.exp, jnp.tanh, jnp.sin, jnp.cos, jnp.abs, jnp.square, jax.nn.relu, jax.nn.sigmoid, jax.nn.softmax, lax.erf),
    *(jax.nn.gelu, jax.nn.silu, jax.nn.log_softmax, jax.nn.softplus, jax.nn.elu, jnp.sort, jnp.cumsum, jnp.floor),
    *(lambda x: x**3, lambda x: x**-2, lambda x: x**-1, lambda x: 1 / (1 + x**2), lambda x: -x, lambda x: x[::-1]),
    *(lambda x: x @ W, convolved, scanned, branched, lambda x: jnp.sqrt(jnp.abs(x)), lambda x: lax.rsqrt(1 + x * x)),
    *(lambda x: jnp.log1p(jnp.abs(x)), lambda x: (jnp.abs(x) + 0.1) ** 1.5, lambda x: jnp.clip(x, -0.5, 0.7)),
    *(lambda x: (x - x.mean()) / jnp.sqrt(x.var() + 1e-3), lambda x: jnp.where(x > 0.2, x, -x), lambda x: x[2:3] + x),
    *(lambda x: 1.0 * jnp.argmax(x) + x, lambda x: lax.top_k(x, 6)[0], lambda x: 0 * x + (x == x[0]) + (x != 0.1)),
    *(lambda x: jnp.where((x > 0) & (x < 1) | ~(x > -1), 1.0, x), lambda x: x.at[2].add(x[3]).at[0].set(x[1])),
    *(lambda x: x.max() - x.min() + x, lambda x: lax.dynamic_slice(x, (0,), (6,)), lambda x: lax.cumlogsumexp(x)),
    *(lambda x: jnp.stack([x, *jnp.unstack(x[None])]).min(axis=0), counted),
    *(lambda x: jax.nn.logsumexp(x) - x, lambda x: jnp.tile(x, 2)[3:9], lambda x: jnp.where(jnp.isfinite(x), x, 0)),
]  # fmt: skip
BINARY = [jnp.add, jnp.subtract, jnp.multiply, jnp.divide, jnp.maximum, jnp.minimum, lambda x, y: jnp.outer(x, y) @ x]


def program(steps):
    """A random program: each step is a function of one or two values before it."""

    def f(x):
        values = [x]
        for kind, which, i, j in steps:
            if kind:
                values.append(BINARY[which % len(BINARY)](values[i % len(values)], values[j % len(values)]))
            else:
                values.append(UNARY[which % len(UNARY)](values[i % len(values)]))
        return values[-1]

    return f


NUMBER = st.integers(0, 999)
STEPS = st.lists(st.tuples(st.booleans(), NUMBER, NUMBER, NUMBER), min_size=1, max_size=3)


def check(f, center, radius, seed):
    """No point of the box has a value outside the bounds."""
    found = [np.asarray(end)[None] for end in bounds(f, center - radius, center + radius)]
    points = center + radius * np.random.default_rng(seed).uniform(-1, 1, size=(40, 6))
    points[:2] = center - radius, center + radius
    values = np.asarray(jax.vmap(f)(jnp.asarray(points)))
    scale = 1e-9 * (1 + np.abs(np.where(np.isfinite(values), values, 0)))
    assert np.all((values >= found[0] - scale) | np.isnan(values))
    assert np.all((values <= found[1] + scale) | np.isnan(values))
    assert np.all(found[0] <= found[1])


@pytest.fixture(autouse=True)
def double():
    with float64():
        yield


@pytest.mark.parametrize("i", range(len(UNARY) + len(BINARY)))
def test_each_function_is_within_its_bounds(i):
    functions = [*UNARY, *[lambda x, g=g: g(x, x[::-1]) for g in BINARY]]
    check(functions[i], np.random.default_rng(i).normal(size=6), 1.0, i)


@given(STEPS, st.integers(0, 2**32 - 1), st.floats(0, 2))
@settings(max_examples=20, deadline=None)
def test_no_value_of_a_random_program_is_outside(steps, seed, radius):
    with float64():
        check(program(steps), np.random.default_rng(seed).normal(size=6), radius, seed)


def test_a_network_by_hand():
    """Interval bound propagation: centers by the weights, radii by their absolute values."""
    lower, upper = np.sort(np.random.default_rng(0).normal(size=(2, 3, 6)), axis=0)
    found = bounds(lambda x: jax.nn.relu(x @ W + 1.0) @ W, lower, upper)
    for shift in (1.0, 0.0):
        c, r = (lower + upper) / 2 @ W + shift, (upper - lower) / 2 @ np.abs(W)
        (lower, upper), ends = (np.maximum(c - r, 0), np.maximum(c + r, 0)), (c - r, c + r)
    np.testing.assert_allclose(found.lower, ends[0], rtol=1e-12)
    np.testing.assert_allclose(found.upper, ends[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (jnp.square, (0, 4)), (jnp.abs, (0, 2)), (lambda x: x * x, (0, 4)), (lambda x: x**3, (-1, 8)),
        (jnp.cos, (np.cos(2), 1)), (jnp.sin, (np.sin(-1), 1)), (lambda x: 1 / x, (-np.inf, np.inf)),
        (lambda x: 1 / (x + 2), (0.25, 1)), (lambda x: x - 2 * x, (-5, 4)), (jnp.sign, (-1, 1)),
        (lambda x: (lambda y: y / y)(x + 2), (0.25, 4)),
        (lambda x: jnp.where(x != x, 7.0, x), (-1, 2)), (lambda x: 1.0 * (x == x), (1, 1)),
        (jax.nn.softplus, (np.log1p(np.exp(-2)), 2 + np.log(2))),
        (lambda x: jnp.where(x > 3, 7.0, x), (-1, 2)), (lambda x: jnp.where(x > 1, 7.0, x), (-1, 7)),
        (lambda x: jnp.log(x + 1), (-np.inf, np.log(3))), (lambda x: jnp.argmax(jnp.array([x, 3.0])), (1, 1)),
    ],
)  # fmt: skip
def test_single_functions_are_bounded_tightly(f, expected):
    np.testing.assert_allclose(bounds(f, -1.0, 2.0), expected, rtol=1e-12)


def test_pytrees_further_inputs_and_jit():
    f = lambda x, k: {"y": x["a"] * k, "k": k}  # noqa: E731
    found = jax.jit(lambda a, b: bounds(f, {"a": a}, {"a": b}, (3.0,)))(1.0, 2.0)
    assert jax.tree.map(float, (found.lower, found.upper)) == ({"y": 3.0, "k": 3.0}, {"y": 6.0, "k": 3.0})


def test_what_has_no_bounds_is_named():
    with pytest.raises(NotImplementedError, match="`reduce_prod` in product has no bounds"):
        bounds(jax.named_scope("product")(lambda x: jnp.prod(x)), jnp.zeros(3), jnp.ones(3))
    with pytest.raises(NotImplementedError, match="`dynamic_slice` has no bounds for indices that are not known"):
        bounds(lambda x: jnp.asarray(W)[jnp.argmax(x)], jnp.zeros(3), jnp.ones(3))
    with pytest.raises(UserError, match="give equal ones"):
        bounds(jnp.sin, jnp.zeros(3), jnp.ones(2))
