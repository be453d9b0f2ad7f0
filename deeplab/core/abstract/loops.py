"""Control flow of programs whose values are not arrays: a loop stays a loop, under a trace, too."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend import core

from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jax_compat import bind, scan_operands
from deeplab.core.jaxpr import CALLS


class Domain(NamedTuple):
    """Values that stand beside plain arrays, which are those that do not depend on the input.

    Attributes:
      kind: Type of the values that depend on the input, a pytree of arrays with the axes of the one that it stands for.
      lift: Function from any value to one of that kind, of one structure for each shape.
      at: Function from a value to the array of the program.
    """

    kind: type
    lift: Callable[[Any], Any]
    at: Callable[[Any], jax.Array]


def run_loop(
    eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str, domain: Domain
) -> list[Any]:
    """The outputs of a loop or a `cond` that depends on the input.

    Raises:
      NotImplementedError: it is a `while` loop whose length is not known when it is traced.
    """
    p = eqn.params
    if eqn.primitive.name == "cond":
        return _cond(eqn, inputs, interpretation, scope, domain)
    if eqn.primitive.name == "scan":
        run = functools.partial(_scan, p["jaxpr"], p["length"], p["reverse"])
        return run(*scan_operands(eqn, inputs), interpretation, scope, domain)
    length = _passes(eqn, inputs, domain)
    if length is None:  # it has no derivative backwards
        raise NotImplementedError(
            f"the length of a `while` loop in {scope or 'the program'} depends on the input; use a scan"
        )
    start = p["cond_nconsts"]
    consts, carry = inputs[start : start + p["body_nconsts"]], inputs[start + p["body_nconsts"] :]
    return _scan(p["body_jaxpr"], length, False, consts, carry, [], interpretation, scope, domain)


def _passes(eqn: core.JaxprEqn, inputs: list[Any], domain: Domain) -> int | None:
    """The number of passes of a `while` loop whose counters are known, which are run alone; None if they are not."""
    unknown, p = object(), eqn.params

    def known(eqn: core.JaxprEqn, values: list[Any], scope: str) -> Any:
        if not any(value is unknown for value in values):
            return bind(eqn, values)
        return NotImplemented if eqn.primitive.name in CALLS else [unknown] * len(eqn.outvars)

    values = [unknown if isinstance(value, (domain.kind, Tracer)) else value for value in inputs]
    end = p["cond_nconsts"] + p["body_nconsts"]
    of_cond, of_body, carry = values[: p["cond_nconsts"]], values[p["cond_nconsts"] : end], values[end:]
    with jax.ensure_compile_time_eval():
        for length in itertools.count():
            (more,) = interpret(p["cond_jaxpr"], [*of_cond, *carry], Interpretation(known))
            if more is unknown or not more:
                return None if more is unknown else length
            carry = interpret(p["body_jaxpr"], [*of_body, *carry], Interpretation(known))
    return None


def _scan(
    body: core.ClosedJaxpr,
    length: int,
    reverse: bool,
    consts: list[Any],
    carry: list[Any],
    rows: list[Any],
    interpretation: Interpretation,
    scope: str,
    domain: Domain,
) -> list[Any]:
    """The same loop over values. What a pass makes depend on the input does so from the first pass on."""
    kind, lift = domain.kind, domain.lift
    carry = [lift(value) if isinstance(value, kind) else value for value in carry]

    def step(carry: Any, row: Any) -> tuple[Any, Any]:
        out = interpret(body, [*consts, *carry, *row], interpretation, scope)
        out = [lift(value) if isinstance(value, kind) else value for value in out]
        return out[: len(carry)], out[len(carry) :]

    while True:  # at most once for each part of the carry
        shapes = jax.eval_shape(step, carry, jax.tree.map(lambda x: x[0], rows))[0] if length else carry
        ends = zip(carry, shapes, strict=True)
        changed = [isinstance(after, kind) and not isinstance(before, kind) for before, after in ends]
        if not any(changed):
            break
        carry = [lift(value) if new else value for value, new in zip(carry, changed, strict=True)]

    def body_of(carry: Any, row: Any) -> tuple[Any, Any]:
        after, made = step(carry, row)
        return [lift(new) if isinstance(old, kind) else new for old, new in zip(carry, after, strict=True)], made

    carry, made = jax.lax.scan(body_of, carry, rows, length=length, reverse=reverse)
    return [*carry, *made]


def _cond(
    eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str, domain: Domain
) -> list[Any]:
    """The branch that is taken, or, if the input decides it, one output of all branches."""
    which, *rest = inputs
    branches = eqn.params["branches"]

    def run(branch: core.ClosedJaxpr, values: list[Any]) -> list[Any]:
        return [domain.lift(out) for out in interpret(branch, values, interpretation, scope)]

    if not isinstance(which, domain.kind):
        taken = [lambda *values, branch=branch: run(branch, list(values)) for branch in branches]
        return jax.lax.switch(which, taken, *rest)

    def chosen(which: jax.Array, *cases: jax.Array) -> jax.Array:
        return jax.lax.select_n(jnp.clip(which, 0, len(cases) - 1).astype("int32"), *cases)

    found = []
    for column in zip(*[run(branch, rest) for branch in branches], strict=True):
        program = jax.make_jaxpr(chosen)(*map(domain.at, [which, *column]))
        found += interpret(program, [which, *column], interpretation, scope)
    return found
