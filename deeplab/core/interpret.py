"""An interpreter of jaxprs with exchangeable rules.

JAX traces a function once. Its program can then be evaluated with values of any kind: arrays with the origin of a NaN,
flags of dependence, intervals, pairs of an input and a reference. The function itself is not changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend import core

from deeplab.core.jax_compat import bind, literal, plain_operations, scan_operands
from deeplab.core.jaxpr import CALLS, CONTROL_FLOW, inner_jaxprs, join_scope


@dataclasses.dataclass(frozen=True)
class Interpretation:
    """The values that a program is evaluated with, and the rules of its equations.

    Values may be of any type: arrays, annotated arrays, intervals, pairs of an input and a reference, nodes of a tape.

    Attributes:
      rule: Function `(eqn, inputs, scope) -> outputs`, called for every equation. Calls and control flow are included,
        so that it may replace a named `jit` or a `scan` as a whole. It returns `NotImplemented` for the default.
      lift: Function from a constant or literal to a value. None if values are arrays; only then does the default of a
        primitive exist, which is to bind it.
      lower: Function from a value to the concrete array that selects the branch of a `cond` or ends a `while`.
    """

    rule: Callable[[core.JaxprEqn, list[Any], str], Any]
    lift: Callable[[Any], Any] | None = None
    lower: Callable[[Any], Any] = lambda value: value


CONCRETE = Interpretation(lambda eqn, inputs, scope: NotImplemented)
"""Arrays, with every rule JAX's own."""


def traced(f: Callable[..., Any], *args: Any) -> tuple[core.ClosedJaxpr, Any]:
    """The program of a function, of operations that have rules, and the shapes of its outputs.

    Args:
      f: Function of pytrees of arrays, such as one that calls a model.
      *args: Its inputs, or their shapes.

    Example:
      >>> program, shape = traced(lambda x: 2 * x, 3.0)
      >>> [eqn.primitive.name for eqn in program.eqns], shape.shape
      (['mul'], ())
    """
    return jax.make_jaxpr(plain_operations()(f), return_shape=True)(*args)


def interpret(
    jaxpr: core.ClosedJaxpr, args: Sequence[Any], interpretation: Interpretation = CONCRETE, scope: str = ""
) -> list[Any]:
    """Evaluates a program equation by equation.

    By default, a call is entered, which drops its custom derivative; a `scan` runs iteration by iteration; a `while`
    runs as long as its condition holds; a `cond` runs the selected branch; and a primitive is bound. The rows of a scan
    are taken and stacked by primitives (`slice`, `squeeze`, `broadcast_in_dim`, `concatenate`) that are interpreted as
    well, so rules of primitives are enough for control flow. A value is freed after its last use.

    Under a trace, loops are unrolled, and `while` and `cond` need a rule, since their conditions are not concrete. A
    rule that keeps a loop calls `interpret` on its body.

    Args:
      jaxpr: A program, from `traced`, or from `jax.make_jaxpr` where no model is called.
      args: One value for each flat input.
      interpretation: Values and rules.
      scope: Name stack around the program.

    Returns:
      One value for each flat output.

    Raises:
      NotImplementedError: A primitive has no rule, and the values are not arrays.

    Example (tanh replaced by the identity):
      >>> def rule(eqn, inputs, scope):
      ...     return inputs if eqn.primitive.name == "tanh" else NotImplemented
      >>> jaxpr = jax.make_jaxpr(jax.jit(lambda x: 2 * jax.numpy.tanh(x)))(3.0)
      >>> float(interpret(jaxpr, [3.0], Interpretation(rule))[0])
      6.0
    """
    program, lift = jaxpr.jaxpr, interpretation.lift or (lambda array: array)
    values = dict(zip(program.constvars, map(lift, jaxpr.consts), strict=True))
    values.update(zip(program.invars, args, strict=True))
    last = {v: i for i, eqn in enumerate(program.eqns) for v in _variables(eqn.invars)}
    last.update(dict.fromkeys(_variables(program.outvars), len(program.eqns)))

    def read(atom: Any) -> Any:
        return lift(literal(atom)) if isinstance(atom, core.Literal) else values[atom]

    for i, eqn in enumerate(program.eqns):
        outputs = _equation(eqn, [read(atom) for atom in eqn.invars], interpretation, join_scope(scope, eqn))
        values.update(zip(eqn.outvars, outputs, strict=True))
        for variable in {*_variables(eqn.invars), *eqn.outvars}:
            if last.get(variable, -1) <= i:
                del values[variable]
    return [read(atom) for atom in program.outvars]


def _variables(atoms: Sequence[Any]) -> Iterator[Any]:
    return (atom for atom in atoms if not isinstance(atom, core.Literal))


def _equation(eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str) -> Sequence[Any]:
    outputs, name = interpretation.rule(eqn, inputs, scope), eqn.primitive.name
    if outputs is not NotImplemented:
        return outputs
    if name in CALLS:
        return interpret(inner_jaxprs(eqn)[0], inputs, interpretation, scope)
    if name in CONTROL_FLOW:
        return {"scan": _scan, "while": _while, "cond": _cond}[name](eqn, inputs, interpretation, scope)
    if interpretation.lift is None:
        return bind(eqn, inputs)
    raise NotImplementedError(f"the primitive `{name}` in {scope or 'the program'} has no rule; add one for it")


def _cond(eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str) -> list[Any]:
    index = int(interpretation.lower(inputs[0]))  # in range: `lax.switch` clamps it
    return interpret(eqn.params["branches"][index], inputs[1:], interpretation, scope)


def _while(eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str) -> list[Any]:
    p = eqn.params
    end = p["cond_nconsts"] + p["body_nconsts"]
    of_cond, of_body, carry = inputs[: p["cond_nconsts"]], inputs[p["cond_nconsts"] : end], inputs[end:]
    while bool(interpretation.lower(interpret(p["cond_jaxpr"], [*of_cond, *carry], interpretation, scope)[0])):
        carry = interpret(p["body_jaxpr"], [*of_body, *carry], interpretation, scope)
    return carry


def _scan(eqn: core.JaxprEqn, inputs: list[Any], interpretation: Interpretation, scope: str) -> list[Any]:
    p, length = eqn.params, eqn.params["length"]
    (consts, carry, xs), (*_, rows) = scan_operands(eqn, inputs), scan_operands(eqn, eqn.invars)
    columns = [_primitives(_rows, [x], [v.aval], interpretation, scope) for x, v in zip(xs, rows, strict=True)]
    num_carry = len(carry)
    ys: list[list[Any]] = [[] for _ in eqn.outvars[num_carry:]]
    for i in reversed(range(length)) if p["reverse"] else range(length):
        out = interpret(p["jaxpr"], [*consts, *carry, *(column[i] for column in columns)], interpretation, scope)
        carry = out[:num_carry]
        for column, y in zip(ys, out[num_carry:], strict=True):
            column.append(y)
    stacked = []
    for column, aval in zip(ys, p["jaxpr"].out_avals[num_carry:], strict=True):
        column = column[::-1] if p["reverse"] else column
        stacked += _primitives(
            lambda *rows, aval=aval: [_stack(rows, aval)], column, [aval] * length, interpretation, scope
        )
    return [*carry, *stacked]


def _primitives(
    function: Callable[..., list[Any]],
    args: Sequence[Any],
    avals: Sequence[Any],
    interpretation: Interpretation,
    scope: str,
) -> list[Any]:
    """Applies a function of arrays to values."""
    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    return interpret(jax.make_jaxpr(function)(*shapes), args, interpretation, scope)


def _rows(x: jax.Array) -> list[jax.Array]:
    return [lax.index_in_dim(x, i, keepdims=False) for i in range(x.shape[0])]


def _stack(rows: Sequence[jax.Array], aval: Any) -> jax.Array:
    if not rows:
        return lax.empty((0, *aval.shape), aval.dtype)
    return lax.concatenate([lax.expand_dims(row, (0,)) for row in rows], 0)
