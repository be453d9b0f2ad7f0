"""The rules of DeepLIFT's rescaling: every equation hands on the whole difference of its outputs.

What is linear moves as its inputs do. A function of one number moves by its secant; one of two by the mean of the two
orders in which its arguments may be exchanged (Shapley's value of two players), which is the midpoint for a product.

Shrikumar, Greenside and Kundaje 2017, https://arxiv.org/abs/1704.02685; the product: Chen, Lundberg and Lee 2021,
https://arxiv.org/abs/1911.11888.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from deeplab.core.abstract.loops import run_loop
from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import CALLS, CONTROL_FLOW, inner_jaxprs
from deeplab.explain.compiler.choices import CHOICES
from deeplab.explain.compiler.pairs import (
    PAIRS,
    Bound,
    Pair,
    at,
    base,
    bounded,
    by_membership,
    difference,
    divided,
    floating,
    moves,
    shared,
)

# Linear in all of these operands together, for any values of the others; all of them when None.
LINEAR: dict[str, tuple[int, ...] | None] = dict.fromkeys((
    "add", "add_any", "sub", "neg", "reduce_sum", "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims",
    "concatenate", "copy", "name", "rev", "pad", "slice", "cumsum", "reduce_window_sum", "real", "imag", "complex",
    "conj", "sharding_constraint", "optimization_barrier", "reduce_precision", "split", "stack", "unstack", "fft",
))  # fmt: skip
LINEAR |= {
    "gather": (0,), "dynamic_slice": (0,), "dynamic_update_slice": (0, 1), "scatter": (0, 2), "scatter-add": (0, 2),
    "scatter_add": (0, 2), "select_and_scatter_add": (0,),
}  # fmt: skip
BILINEAR = ("mul", "dot_general", "conv_general_dilated")
ELEMENTWISE = frozenset({
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e", "bessel_i1e", "cbrt", "ceil",
    "clamp", "cos", "cosh", "digamma", "div", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "integer_pow",
    "is_finite", "lgamma", "log", "log1p", "logistic", "max", "min", "mul", "nextafter", "not", "or", "and", "xor",
    "pow", "convert_element_type", "rem", "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh",
    "add", "sub", "neg",
})  # fmt: skip
_PASSED = ("stop_gradient", "convert_element_type", "copy", "broadcast_in_dim", "reshape", "squeeze", "expand_dims")
_NODES = 16


def rule(eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> Any:
    """The rule of an equation; see `deeplab.core.interpret`."""
    name, bound = eqn.primitive.name, functools.partial(_bound, eqn)
    depends = [i for i, value in enumerate(inputs) if isinstance(value, Pair)]
    if not depends:
        return bind(eqn, inputs)
    if name in CALLS:
        return elementwise(_called(eqn), inputs) if is_elementwise(eqn, len(depends)) else NotImplemented
    if name in CONTROL_FLOW:
        return run_loop(eqn, inputs, RESCALE, scope, PAIRS)
    if name == "stop_gradient":  # the difference is there, whatever a derivative would be
        return inputs
    if name == "convert_element_type" and _keeps_numbers(inputs[0], eqn.params["new_dtype"]):
        return [_converted(inputs[0], eqn.params["new_dtype"])]
    if name.startswith("ragged_dot"):
        return interpret(_by_membership(eqn), inputs, RESCALE, scope)
    if name in LINEAR and set(depends) <= set(LINEAR[name] or depends):
        return linear(bound, inputs, LINEAR[name])
    if name in BILINEAR and set(depends) <= {0, 1}:
        return bilinear(bound, inputs)
    if name in CHOICES:
        return CHOICES[name](eqn, bound, inputs)
    if name in ELEMENTWISE:
        return elementwise(bound, inputs)
    warnings.warn(f"the primitive `{name}` in {scope or 'the program'} has no rule; its secant is used", stacklevel=2)
    return straight(bound, inputs)


RESCALE = Interpretation(rule, bounded)


def _by_membership(eqn: core.JaxprEqn) -> core.ClosedJaxpr:
    """A ragged product, whose sizes are choices: they are compared with the numbers of the rows, by those rules."""
    shapes: list[Any] = [v.aval for v in eqn.invars]
    return jax.make_jaxpr(by_membership)(*(jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in shapes))


def _keeps_numbers(pair: Pair, dtype: Any) -> bool:
    """Whether a conversion leaves every number what it is: not one to integers, nor one to truth values."""
    whole = not jnp.issubdtype(pair.at.dtype, jnp.inexact)
    if jnp.issubdtype(pair.at.dtype, jnp.complexfloating):
        return jnp.issubdtype(dtype, jnp.complexfloating)
    return jnp.issubdtype(dtype, jnp.inexact) or (whole and jnp.issubdtype(dtype, jnp.integer))


def _converted(pair: Pair, dtype: Any) -> Pair:
    move = pair.move.astype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else pair.move
    return Pair(pair.at.astype(dtype), pair.base.astype(dtype), move)


def _bound(eqn: core.JaxprEqn, *arrays: jax.Array) -> list[jax.Array]:
    aval: Any = eqn.outvars[0].aval
    if eqn.primitive.name.startswith("scatter") and arrays[0].dtype != aval.dtype:  # its sum is one of integers
        options = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
        scatter: Any = jax.lax.scatter_add if "add" in eqn.primitive.name else jax.lax.scatter
        return [scatter(*arrays, **{name: eqn.params[name] for name in options})]
    return bind(eqn, arrays)


def _called(eqn: core.JaxprEqn) -> Bound:
    inner = inner_jaxprs(eqn)[0]
    return lambda *arrays: interpret(inner, arrays)


def is_elementwise(eqn: core.JaxprEqn, depends: int) -> bool:
    """Whether a call, as that of an activation function, is a function of one number, applied to each."""
    if depends != 1 or len(eqn.outvars) != 1:
        return False
    avals: list[Any] = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    shapes = {aval.shape for aval in avals if aval.shape}
    return len(shapes) <= 1 and all(
        inner.primitive.name in ELEMENTWISE or inner.primitive.name in _PASSED or inner.primitive.name == "select_n"
        or _compares(inner) or (inner.primitive.name in CALLS and is_elementwise(inner, 1))
        for inner in inner_jaxprs(eqn)[0].jaxpr.eqns
    )  # fmt: skip


def _compares(eqn: core.JaxprEqn) -> bool:
    return eqn.primitive.name in ("eq", "ne", "lt", "le", "gt", "ge")


def linear(bound: Bound, inputs: Sequence[Any], operands: Sequence[int] | None = None) -> list[Pair]:
    """Outputs that move as these operands do, the others being equal at the input and at the baseline."""
    moved = [
        move if operands is None or i in operands else value
        for i, (value, move) in enumerate(zip(inputs, moves(inputs), strict=True))
    ]
    return [Pair(*out) for out in zip(bound(*at(inputs)), bound(*base(inputs)), bound(*moved), strict=True)]


def bilinear(bound: Bound, inputs: Sequence[Any]) -> list[Pair]:
    """A product of the first two inputs: each moves at the mean of the other."""
    left, right, *rest = inputs
    values = zip(bound(*at(inputs)), bound(*base(inputs)), strict=True)
    if isinstance(left, Pair) and isinstance(right, Pair):
        first = bound(left.move, _middle(right), *rest)
        second = bound(_middle(left), right.move, *rest)
        return [Pair(*pair, a + b) for pair, a, b in zip(values, first, second, strict=True)]
    moves = (left.move, floating(right)) if isinstance(left, Pair) else (floating(left), right.move)
    return [Pair(*pair, move) for pair, move in zip(values, bound(*moves, *rest), strict=True)]


def _middle(pair: Pair) -> jax.Array:
    return (floating(pair.at) + floating(pair.base)) / 2


def elementwise(bound: Bound, inputs: Sequence[Any]) -> list[Pair]:
    """A function of one or more numbers: the secant in each, the mean over the first and the last turn of each."""
    (y,), (y0,) = bound(*at(inputs)), bound(*base(inputs))
    if sum(isinstance(value, Pair) for value in inputs) > 2:
        return straight(bound, inputs)
    total: Any = 0.0
    for i, pair in enumerate(inputs):
        if isinstance(pair, Pair):
            total = total + _slope(bound, inputs, i) * pair.move
    total = total if jnp.iscomplexobj(y) else jnp.real(total)  # as of the size of a complex number
    return [Pair(y, y0, jnp.broadcast_to(total, y.shape).astype(floating(y).dtype))]


def _slope(bound: Bound, inputs: Sequence[Any], i: int) -> jax.Array:
    """The mean slope between the two ends of input i; where they are too near for that, the derivative between them."""
    pair, among = inputs[i], len([value for value in inputs if isinstance(value, Pair)])
    ends = [at(inputs), base(inputs)] if among > 1 else [base(inputs)]

    def value(x: jax.Array, others: list[jax.Array]) -> jax.Array:
        return bound(*others[:i], x, *others[i + 1 :])[0]

    change: Any = sum(floating(value(pair.at, rest)) - floating(value(pair.base, rest)) for rest in ends) / len(ends)
    apart = difference(pair)
    if not jnp.issubdtype(pair.at.dtype, jnp.floating):  # whole, or complex: no derivative that is a number
        return divided(change, apart)
    near = jnp.abs(apart) <= 64 * jnp.finfo(apart.dtype).eps * jnp.maximum(jnp.abs(pair.at), jnp.abs(pair.base))
    middle = pair.base + apart / 2

    def slope(rest: list[jax.Array]) -> jax.Array:
        return jax.jvp(lambda x: floating(value(x, rest)), (middle,), (jnp.ones_like(middle),))[1]

    return jnp.where(near, sum(map(slope, ends)) / len(ends), change / jnp.where(near, 1, apart))


def straight(bound: Bound, inputs: Sequence[Any]) -> list[Pair]:
    """Any function: the mean of its derivative along the straight line, scaled to the difference of each output.

    An output that has no derivative moves by the share of their differences by which the inputs do.
    """
    pairs = [value for value in inputs if isinstance(value, Pair)]
    ends = [Pair(y, y0, _apart(y, y0)) for y, y0 in zip(bound(*at(inputs)), bound(*base(inputs)), strict=True)]
    smooth = [i for i, y in enumerate(ends) if jnp.issubdtype(y.at.dtype, jnp.inexact)]
    moved = [end.move * shared(pairs).astype(end.move.dtype) for end in ends]
    try:
        slopes = [_along(bound, inputs, smooth, of) for of in (lambda pair: pair.move, difference)] if smooth else []
    except NotImplementedError:  # of an output that JAX has no derivative of
        slopes = []
    for i, move, whole in zip(smooth, *slopes, strict=True) if slopes else ():
        moved[i] = jnp.where(whole == 0, moved[i], move * divided(ends[i].move, whole))
    return [end._replace(move=move) for end, move in zip(ends, moved, strict=True)]


def _apart(y: jax.Array, y0: jax.Array) -> jax.Array:
    return floating(y) - floating(y0)


def _along(
    bound: Bound, inputs: Sequence[Any], outputs: Sequence[int], of: Callable[[Pair], jax.Array]
) -> list[jax.Array]:
    """The mean change of some outputs with the real inputs, along the straight line."""
    given = [i for i, x in enumerate(inputs) if isinstance(x, Pair) and jnp.issubdtype(x.at.dtype, jnp.inexact)]
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)

    def function(*pieces: jax.Array) -> list[jax.Array]:
        arrays = at(inputs)
        for i, piece in zip(given, pieces, strict=True):
            arrays[i] = piece
        found = bound(*arrays)
        return [found[i] for i in outputs]

    def at_node(t: jax.Array) -> list[jax.Array]:
        places = [inputs[i].base + t.astype(inputs[i].base.dtype) * difference(inputs[i]) for i in given]
        return jax.jvp(function, places, [of(inputs[i]) for i in given])[1]

    parts = jax.vmap(at_node)(jnp.asarray((nodes + 1) / 2))
    return [jnp.tensordot(jnp.asarray(weights / 2, part.dtype), part, axes=1) for part in parts]
