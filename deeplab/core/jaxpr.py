"""The equations of a program: which jaxprs they run, how often, and under which scope.

This is the one definition of what an equation with inner jaxprs means; `core/interpret.py` evaluates by it. A *call*
(`jit`, `checkpoint`, a function with a custom derivative) runs its jaxpr once, on its own operands. *Control flow*
(`scan`, `while`, `cond`) runs one zero or more times, on operands that it lays out itself. Everything else is a
primitive, even where it holds a jaxpr: that of a `reduce` combines two elements, that of a `shard_map` is the program
of one device.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from jax.extend import core

from deeplab.core.jax_compat import manual_axes

CALLS = frozenset({
    "jit", "pjit", "call", "core_call", "closed_call", "core_closed_call", "remat", "remat2", "checkpoint",
    "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
})  # fmt: skip
"""Primitives that run one jaxpr once, on their own operands. JAX renames some of them between versions."""

CONTROL_FLOW = frozenset({"scan", "while", "cond"})
"""Primitives that choose how often, or which, jaxpr runs."""

ENTERED = CALLS | CONTROL_FLOW
"""Primitives that `interpret` enters unless a rule replaces them."""

# Their jaxprs combine two elements; they are not evaluated as parts of the program.
_COMBINERS = ("reduce", "scatter", "select_and_scatter", "sort")


def inner_jaxprs(eqn: core.JaxprEqn) -> list[core.ClosedJaxpr]:
    """Jaxprs that an equation runs, in the order of its parameters; for a `cond`, all branches.

    They are found by their type, since the parameters' names differ between primitives and versions of JAX. The rules
    of a custom derivative are functions, not jaxprs, until they are differentiated.

    Example:
      >>> import jax
      >>> eqn = jax.make_jaxpr(jax.jit(jax.numpy.sin))(1.0).eqns[0]
      >>> [[inner.primitive.name for inner in closed.eqns] for closed in inner_jaxprs(eqn)]
      [['sin']]
    """
    name = eqn.primitive.name
    if name.startswith(_COMBINERS):
        return []
    if name == "custom_linear_solve":  # the other three are for its derivatives
        return [_closed(eqn.params["jaxprs"].solve)]
    values = [leaf for v in eqn.params.values() for leaf in (v if isinstance(v, (tuple, list)) else (v,))]
    return [_closed(v) for v in values if isinstance(v, (core.ClosedJaxpr, core.Jaxpr))]


def _closed(jaxpr: Any) -> core.ClosedJaxpr:
    return jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())


@dataclasses.dataclass(frozen=True)
class Visit:
    """An equation and its position in the program.

    Attributes:
      eqn: Equation.
      scope: Path of its name stack, including those of the calls and loops around it.
      times: Number of runs in one run of the program. A `while` of unknown length counts as one run.
      depth: Number of loops around it.
      bodies: Visits of each jaxpr that it runs; for a `cond`, one sequence for each branch.
    """

    eqn: core.JaxprEqn
    scope: str
    times: int
    depth: int
    bodies: tuple[tuple[Visit, ...], ...]


def walk(jaxpr: core.ClosedJaxpr) -> Iterator[Visit]:
    """Visits every equation of a program in order, each before those inside it, including all branches of a `cond`.

    Args:
      jaxpr: Program, from `jax.make_jaxpr`.

    Example:
      >>> import jax
      >>> def f(x, ws):
      ...     return jax.lax.scan(lambda x, w: (x @ w, None), x, ws)[0]
      >>> jaxpr = jax.make_jaxpr(f)(jax.numpy.ones((2, 3)), jax.numpy.ones((5, 3, 3)))
      >>> [(visit.eqn.primitive.name, visit.times, visit.depth) for visit in walk(jaxpr)]
      [('scan', 1, 0), ('dot_general', 5, 1)]
    """
    return _flat(visits(jaxpr))


def visits(jaxpr: core.ClosedJaxpr, scope: str = "", times: int = 1, depth: int = 0) -> tuple[Visit, ...]:
    """Visits the top-level equations of a program; those inside them are in `bodies`, by branch for a `cond`.

    Args:
      jaxpr: Program, from `jax.make_jaxpr`.
      scope: Name stack around it.
      times: Number of runs of the program.
      depth: Number of loops around it.
    """
    found = []
    for eqn in jaxpr.jaxpr.eqns:
        here, trips = join_scope(scope, eqn), _trip_count(eqn)
        inside = depth + (eqn.primitive.name in ("scan", "while"))
        bodies = tuple(visits(inner, here, times * trips, inside) for inner in inner_jaxprs(eqn))
        found.append(Visit(eqn, here, times, depth, bodies))
    return tuple(found)


def has_primitive(jaxpr: core.ClosedJaxpr, name: str) -> bool:
    """Whether any equation of a program, including those inside calls and loops, has this primitive."""
    return any(visit.eqn.primitive.name == name for visit in walk(jaxpr))


def _flat(found: Sequence[Visit]) -> Iterator[Visit]:
    for visit in found:
        yield visit
        for body in visit.bodies:
            yield from _flat(body)


def join_scope(scope: str, eqn: core.JaxprEqn) -> str:
    """Scope of an equation in a program that runs within a scope."""
    return "/".join(filter(None, [scope, str(eqn.source_info.name_stack)]))


def _trip_count(eqn: core.JaxprEqn) -> int:
    """Number of runs of the inner jaxprs in one run of the equation, over all devices."""
    if eqn.primitive.name == "scan":
        return eqn.params["length"]
    if eqn.primitive.name == "while":
        return _while_trip_count(eqn) or 1
    if eqn.primitive.name == "shard_map":  # its jaxpr is the program of one device
        return math.prod(eqn.params["mesh"].shape[axis] for axis in manual_axes(eqn))
    return 1


def _while_trip_count(eqn: core.JaxprEqn) -> int | None:
    """Trip count of `while i < n` with literal bounds and a step of one, as `fori_loop` makes it; else None."""
    cond, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    carry = eqn.invars[eqn.params["cond_nconsts"] + eqn.params["body_nconsts"] :]
    if len(cond.eqns) != 1 or cond.eqns[0].primitive.name != "lt" or eqn.params["cond_nconsts"]:
        return None
    counter, end = cond.eqns[0].invars
    if isinstance(counter, core.Literal) or not isinstance(end, core.Literal):
        return None
    index = cond.invars.index(counter)
    before, after = body.invars[eqn.params["body_nconsts"] + index], body.outvars[index]
    step = next((e for e in body.eqns if after in e.outvars), None)
    if step is None or step.primitive.name != "add" or step.invars[0] is not before:
        return None
    if not isinstance(step.invars[1], core.Literal) or step.invars[1].val != 1:
        return None
    start = carry[index]
    return max(0, int(end.val) - int(start.val)) if isinstance(start, core.Literal) else None
