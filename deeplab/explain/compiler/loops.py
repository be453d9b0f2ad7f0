"""Control flow: a scan of arrays becomes one of pairs, and all branches of a choice are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jax_compat import scan_operands
from deeplab.explain.compiler.pairs import Pair, at, floating


def _still(x: Any) -> Any:
    """An array that does not depend on the input, as one that could."""
    return x if isinstance(x, Pair) else Pair(x, x, jnp.zeros(jnp.shape(x), floating(jnp.asarray(x)).dtype))


def _scan(eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str) -> list[Any]:
    """The same loop over pairs. What a pass makes depend on the input does so from the first pass on."""
    consts, carry, rows = scan_operands(eqn, inputs)
    body, length, reverse = eqn.params["jaxpr"], eqn.params["length"], eqn.params["reverse"]

    def step(carry: Any, row: Any) -> tuple[Any, Any]:
        out = interpret(body, [*consts, *carry, *row], interpretation, scope)
        return out[: len(carry)], out[len(carry) :]

    while True:  # at most once for each part of the carry
        shapes = jax.eval_shape(step, carry, jax.tree.map(lambda x: x[0], rows))[0] if length else carry
        ends = zip(carry, shapes, strict=True)
        changed = [isinstance(after, Pair) and not isinstance(before, Pair) for before, after in ends]
        if not any(changed):
            break
        carry = [_still(value) if new else value for value, new in zip(carry, changed, strict=True)]

    def body_of(carry: Any, row: Any) -> tuple[Any, Any]:
        after, made = step(carry, row)
        return [_still(new) if isinstance(old, Pair) else new for old, new in zip(carry, after, strict=True)], made

    carry, made = jax.lax.scan(body_of, carry, rows, length=length, reverse=reverse)
    return [*carry, *made]


def _cond(eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str) -> list[Any]:
    """The branch that is taken, or, if the input decides it, one output of all branches."""
    which, *rest = inputs
    branches = eqn.params["branches"]

    def run(branch: core.ClosedJaxpr, values: list[Any]) -> list[Any]:
        return [_still(out) for out in interpret(branch, values, interpretation, scope)]

    if not isinstance(which, Pair):
        taken = [lambda *values, branch=branch: run(branch, list(values)) for branch in branches]
        return jax.lax.switch(which, taken, *rest)

    def chosen(which: jax.Array, *cases: jax.Array) -> jax.Array:
        return jax.lax.select_n(jnp.clip(which, 0, len(cases) - 1).astype("int32"), *cases)

    found = []
    for column in zip(*[run(branch, rest) for branch in branches], strict=True):
        program = jax.make_jaxpr(chosen)(*at([which, *column]))
        found += interpret(program, [which, *column], interpretation, scope)
    return found


def _while(eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str) -> list[Any]:
    """A loop of unknown length has no derivative backwards, which the multipliers are."""
    del eqn, inputs, interpretation
    raise NotImplementedError(f"a `while` loop in {scope or 'the program'} depends on the input; use a scan")


LOOPS: dict[str, Callable[..., list[Any]]] = {"scan": _scan, "cond": _cond, "while": _while}
