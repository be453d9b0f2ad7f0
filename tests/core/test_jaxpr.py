"""The walk: each equation once, with its scope and the number of times that it runs."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from deeplab.core.jaxpr import CALLS, has_primitive, inner_jaxprs, visits, walk


@jax.custom_vjp
def doubled(x):
    return 2 * jnp.sin(x)


doubled.defvjp(lambda x: (2 * jnp.sin(x), x), lambda x, g: (2 * g * jnp.cos(x),))


@jax.custom_jvp
def tripled(x):
    return 3 * jnp.sin(x)


tripled.defjvps(lambda t, ans, x: 3 * t * jnp.cos(x))


def found(function, *args, name="sin"):
    """(times, depth, scope) of the equations of one primitive."""
    jaxpr = jax.make_jaxpr(function)(*args)
    return [(v.times, v.depth, v.scope) for v in walk(jaxpr) if v.eqn.primitive.name == name]


@pytest.mark.parametrize("function", [jax.jit(jnp.sin), jax.checkpoint(jnp.sin), doubled, tripled])
def test_a_call_runs_its_jaxpr_once(function):
    assert found(function, 1.0) == [(1, 0, "")]
    assert [visit[:2] for visit in found(jax.grad(function), 1.0, name="cos")] == [(1, 0)]


def test_loops_multiply():
    def scan(x, length=5):
        return lax.scan(lambda x, _: (jnp.sin(x), None), x, length=length)[0]

    def nested(x):
        return lax.fori_loop(0, 3, lambda i, x: scan(x), jnp.sin(x))

    def unknown(x):
        return lax.while_loop(lambda x: x > 0, scan, x)

    assert found(scan, 1.0) == [(5, 1, "")]
    assert [visit[:2] for visit in found(nested, 1.0)] == [(1, 0), (15, 2)]
    assert [visit[:2] for visit in found(unknown, 1.0)] == [(5, 2)]


def test_a_scope_is_that_of_all_around():
    def inner(x):
        with jax.named_scope("inner"):
            return jnp.sin(x)

    def outer(x):
        with jax.named_scope("outer"):
            return lax.scan(lambda x, _: (jax.jit(inner)(x), None), x, length=2)[0]

    assert found(outer, 1.0) == [(2, 1, "outer/inner")]


def test_a_cond_has_a_body_for_each_branch():
    jaxpr = jax.make_jaxpr(lambda i, x: lax.switch(i, [jnp.sin, lambda x: jnp.sin(jnp.sin(x)), jnp.cos], x))(0, 1.0)
    (cond,) = (visit for visit in visits(jaxpr) if visit.eqn.primitive.name == "cond")
    assert [[inner.eqn.primitive.name for inner in body] for body in cond.bodies] == [["sin"], ["sin", "sin"], ["cos"]]
    assert sum(visit.eqn.primitive.name == "sin" for visit in walk(jaxpr)) == 3


def test_what_combines_two_elements_is_no_part_of_the_program():
    def function(x):
        x = x.at[0].add(1.0)
        x = lax.sort(x)
        return lax.reduce(x, 0.0, lambda a, b: a + jnp.sin(b), (0,))

    jaxpr = jax.make_jaxpr(function)(jnp.ones(4))
    names = {visit.eqn.primitive.name for visit in walk(jaxpr)}
    assert {"scatter-add", "sort", "reduce"} <= names
    assert not has_primitive(jaxpr, "sin")


def test_of_a_linear_solve_the_solver_runs():
    def solve(x):
        return lax.custom_linear_solve(lambda v: 2 * jnp.sin(v), x, lambda _, b: jnp.tan(b), symmetric=True)

    assert has_primitive(jax.make_jaxpr(solve)(1.0), "tan")
    assert not has_primitive(jax.make_jaxpr(solve)(1.0), "sin")


def test_the_calls_are_those_of_this_jax():
    """What JAX calls them is in the table, so that no version enters a call as if it were a primitive."""
    for function in (jax.jit(jnp.sin), jax.checkpoint(jnp.sin), doubled, tripled, jax.nn.relu):
        (eqn,) = jax.make_jaxpr(function)(1.0).eqns
        assert eqn.primitive.name in CALLS
        (inner,) = inner_jaxprs(eqn)
        assert [v.aval for v in inner.jaxpr.invars] == [v.aval for v in eqn.invars]
        assert [v.aval for v in inner.jaxpr.outvars] == [v.aval for v in eqn.outvars]
