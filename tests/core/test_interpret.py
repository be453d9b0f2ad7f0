"""The interpreter: without rules it is the function, bit by bit; with others it gives values of another kind."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deeplab.core.interpret import CONCRETE, Interpretation, interpret
from deeplab.core.jax_compat import bind, scan_operands
from deeplab.core.jaxpr import ENTERED
from deeplab.train.step import make_step
from tests import toys

X = jnp.linspace(-2.0, 3.0, 4)
WS = jnp.sin(jnp.arange(48.0)).reshape(3, 4, 4)


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


def scan(x, ws, reverse=False):
    return lax.scan(lambda x, w: (jnp.tanh(x @ w), jnp.exp(x)), x, ws, reverse=reverse)


def until(x):
    return lax.while_loop(lambda c: c[1].sum() < 40, lambda c: (c[0] + 1, jnp.exp(c[1] * 0.9)), (0, x))


def random(x):
    keys = jax.random.split(jax.random.key(0), 3)
    return lax.scan(lambda x, key: (x + jax.random.normal(key, x.shape), jax.random.fold_in(key, 1)), x, keys)[0]


PROGRAMS = {
    "jit": (lambda x: jax.jit(lambda y: jnp.sin(y) * x)(x + 1), X),
    "relu, a custom_jvp": (jax.nn.relu, X),
    "custom_vjp": (lambda x: sine(x) * 2, X),
    "remat": (jax.checkpoint(lambda x: jnp.exp(jnp.sin(x))), X),
    "scan": (scan, X, WS),
    "reversed scan": (functools.partial(scan, reverse=True), X, WS),
    "empty scan": (scan, X, WS[:0]),
    "scan over keys": (random, X),
    "cond": (lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), X),
    "cond, other branch": (lambda x: lax.cond(x.sum() < 0, jnp.sin, jnp.cos, x), X),
    "switch": (lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.exp], x), 7, X),
    "while": (until, X),
    "fori_loop": (lambda x: lax.fori_loop(0, 4, lambda i, x: x * i + jnp.sin(x), x), X),
    "no inputs": (lambda: jnp.arange(3) + 1,),
    "several outputs": (lambda x: (x, 1.0, x, jnp.sort(x)), X),
}


def primitive_by_primitive(function, *args):
    """JAX's own evaluation without compiled functions, which it lacks for a scan of no length."""
    if any(jnp.shape(leaf)[:1] == (0,) for leaf in jax.tree.leaves(args)):
        return function(*args)
    with jax.disable_jit():
        return function(*args)


def same(a, b):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert jnp.result_type(one) == jnp.result_type(other)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_rules_it_is_the_function(name):
    function, *args = PROGRAMS[name]
    same(interpret(jax.make_jaxpr(function)(*args), args), primitive_by_primitive(function, *args))


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in ("while", "no inputs", "switch")])
def test_without_rules_it_is_the_gradient(name):
    function, *args = PROGRAMS[name]

    def gradient(*args):
        return jax.grad(lambda *args: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(function(*args))))(*args)

    same(interpret(jax.make_jaxpr(gradient)(*args), args), primitive_by_primitive(gradient, *args))


@pytest.mark.slow
def test_without_rules_it_is_the_training_step():
    exp = toys.experiment()
    state, batch = toys.init(exp, jax.random.key(0)), next(exp.data.batches("train"))
    step = make_step(exp)
    out = interpret(jax.make_jaxpr(step)(state, batch), jax.tree.leaves((state, batch)))
    assert toys.same(out, jax.tree.leaves(primitive_by_primitive(step, state, batch)))


def test_under_a_trace_it_is_the_function():
    """Loops are unrolled."""
    jaxpr = jax.make_jaxpr(scan)(X, WS)
    unrolled = jax.make_jaxpr(lambda *args: interpret(jaxpr, args))(X, WS)
    assert "scan" not in str(unrolled)
    np.testing.assert_allclose(jax.jit(lambda *args: interpret(jaxpr, args))(X, WS)[0], scan(X, WS)[0], rtol=1e-6)


def test_a_value_is_freed_after_its_last_use():
    class Array:
        alive = 0

        def __init__(self, array):
            self.array = array
            Array.alive += 1

        def __del__(self):
            Array.alive -= 1

    most = []

    def rule(eqn, inputs, scope):
        most.append(Array.alive)
        return [Array(x) for x in bind(eqn, [v.array for v in inputs])]

    def function(x):
        for _ in range(20):
            x = jnp.sin(x)
        return x

    interpret(jax.make_jaxpr(function)(1.0), [Array(1.0)], Interpretation(rule, lift=Array))
    assert max(most) <= 3


def test_a_rule_sees_scopes_and_takes_a_named_function_as_a_whole():
    seen = []

    @jax.jit
    def softmax(x):
        return jax.nn.softmax(x)

    def function(x):
        with jax.named_scope("head"):
            return lax.map(lambda row: softmax(jnp.sin(row)), x)

    def rule(eqn, inputs, scope):
        seen.append((eqn.primitive.name, scope))
        return inputs if eqn.params.get("name") == "softmax" else NotImplemented

    x = jnp.ones((2, 3))
    (out,) = interpret(jax.make_jaxpr(function)(x), [x], Interpretation(rule))
    same(out, jnp.sin(x))
    assert seen[0] == ("scan", "head")
    assert seen.count(("sin", "head")) == 2
    assert not [name for name, _ in seen if name == "exp"]


# A second table: values are pairs of a number and its derivative in one direction.


class Dual(NamedTuple):
    primal: Any
    tangent: Any


def _dual(eqn, inputs, scope):
    if eqn.primitive.name in ENTERED:
        return NotImplemented
    varies = [jnp.issubdtype(jnp.result_type(x.primal), jnp.inexact) for x in inputs]

    def function(*floats):
        floats = iter(floats)
        return bind(eqn, [next(floats) if v else x.primal for x, v in zip(inputs, varies, strict=True)])

    floats = [x for x, v in zip(inputs, varies, strict=True) if v]
    out = jax.jvp(function, [jnp.asarray(x.primal) for x in floats], [jnp.asarray(x.tangent) for x in floats])
    return map(Dual, *out)


DUAL = Interpretation(_dual, lift=lambda x: Dual(x, np.zeros_like(x)), lower=lambda x: x.primal)
PLAIN = {"custom_vjp": (lambda x: jnp.sin(x) * 2, X)}  # jax.jvp refuses the function itself
NAMES = [name for name in PROGRAMS if name not in ("scan over keys", "no inputs", "switch")]


@pytest.mark.parametrize("name", NAMES)
def test_dual_numbers_are_forward_differentiation(name):
    function, *args = PROGRAMS[name]
    tangents = [jnp.cos(x) for x in args]
    expected = jax.jvp(PLAIN.get(name, PROGRAMS[name])[0], args, tangents)
    out = interpret(jax.make_jaxpr(function)(*args), list(map(Dual, args, tangents)), DUAL)
    for value, primal, tangent in zip(out, *map(jax.tree.leaves, expected), strict=True):
        np.testing.assert_allclose(value.primal, primal, rtol=1e-6)
        if tangent.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(value.tangent, tangent, rtol=1e-5, atol=1e-6)


# A third: values are intervals, rules are by primitive, and a loop stays a loop.


class Interval(NamedTuple):
    low: Any
    high: Any


def _monotone(eqn, *inputs):
    return [Interval(*ends) for ends in zip(*(bind(eqn, ends) for ends in zip(*inputs, strict=True)), strict=True)]


def _product(eqn, x, w):
    """By a matrix without an interval: the center, and the radius by absolute weights."""
    center, radius = (x.low + x.high) / 2, (x.high - x.low) / 2
    (center,), (radius,) = bind(eqn, [center, w.low]), bind(eqn, [radius, jnp.abs(w.low)])
    return [Interval(center - radius, center + radius)]


def _negative(eqn, x):
    return [Interval(-x.high, -x.low)]


def _staged_scan(eqn, *inputs):
    p, (consts, carry, xs) = eqn.params, scan_operands(eqn, inputs)

    def body(carry, xs):
        out = interpret(p["jaxpr"], [*consts, *carry, *xs], STAGED)
        return tuple(out[: len(carry)]), tuple(out[len(carry) :])

    carry, ys = lax.scan(body, tuple(carry), tuple(xs), p["length"], p["reverse"])
    return [*carry, *ys]


MONOTONE = ("add", "tanh", "max", "gt", "slice", "squeeze", "broadcast_in_dim", "concatenate", "convert_element_type")
TABLE = {**dict.fromkeys(MONOTONE, _monotone), "dot_general": _product, "neg": _negative}


def _intervals(table):
    def rule(eqn, inputs, scope):
        return table[eqn.primitive.name](eqn, *inputs) if eqn.primitive.name in table else NotImplemented

    return Interpretation(rule, lift=lambda x: Interval(x, x), lower=lambda x: x.low)


UNROLLED, STAGED = _intervals(TABLE), _intervals(TABLE | {"scan": _staged_scan})


@jax.custom_vjp
def negative(x):
    return -x


negative.defvjp(lambda x: (-x, None), lambda _, g: (-g,))


def network(x, ws, train):
    x = jax.nn.relu(jax.jit(lambda x: x @ ws[0] + 1.0)(x))
    x = jax.checkpoint(lambda x: jnp.tanh(negative(x)))(x)
    x = lax.cond(train, jnp.tanh, lambda x: x, x)
    return lax.scan(lambda x, w: (jax.nn.relu(x @ w), x), x, ws)


@pytest.mark.parametrize("interpretation", [UNROLLED, STAGED], ids=["unrolled", "staged"])
def test_intervals_hold_what_the_function_gives(interpretation):
    jaxpr = jax.make_jaxpr(network)(X, WS, True)

    def bounds(x, ws, radius, train=True):
        given = [Interval(x - radius, x + radius), Interval(ws, ws), Interval(train, train)]
        return interpret(jaxpr, given, interpretation)

    for end in (0, 1):  # an interval of one point is that point
        for part, expected in zip(bounds(X, WS, 0.0), network(X, WS, True), strict=True):
            np.testing.assert_allclose(part[end], expected, atol=1e-5)
    final, hidden = bounds(X, WS, 0.1)
    samples = X[None] + jax.random.uniform(jax.random.key(0), (200, 4), minval=-0.1, maxval=0.1)
    outputs = jax.vmap(lambda x: network(x, WS, True))(samples)
    for interval, values in zip((final, hidden), outputs, strict=True):
        assert jnp.all((interval.low[None] - 1e-5 <= values) & (values <= interval.high[None] + 1e-5))
        assert jnp.max(interval.high - interval.low) > 1e-2


def test_under_a_trace_a_rule_keeps_a_scan():
    jaxpr = jax.make_jaxpr(lambda x, ws: lax.scan(lambda x, w: (jax.nn.relu(x @ w), x), x, ws))(X, WS)

    def bounds(x, ws, interpretation):
        return interpret(jaxpr, [Interval(x - 0.1, x + 0.1), Interval(ws, ws)], interpretation)

    traced = {
        interpretation: str(jax.make_jaxpr(functools.partial(bounds, interpretation=interpretation))(X, WS))
        for interpretation in (UNROLLED, STAGED)
    }
    assert "scan[" in traced[STAGED]
    assert "scan[" not in traced[UNROLLED]
    compiled = jax.jit(bounds, static_argnums=2)
    for a, b in zip(jax.tree.leaves(compiled(X, WS, STAGED)), jax.tree.leaves(bounds(X, WS, UNROLLED)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_missing_rule_is_named():
    def function(x):
        with jax.named_scope("attention"):
            return jnp.exp(x)

    with pytest.raises(NotImplementedError, match="`exp` in attention has no rule"):
        interpret(jax.make_jaxpr(function)(X), [Interval(X, X)], UNROLLED)


def test_of_arrays_a_missing_rule_is_the_primitive():
    same(interpret(jax.make_jaxpr(jnp.exp)(X), [X], CONCRETE)[0], jnp.exp(X))
