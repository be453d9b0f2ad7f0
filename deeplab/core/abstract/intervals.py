"""Bounds of the outputs of any program, from bounds of its inputs: interval arithmetic on its equations.

They hold in real arithmetic; in floating point, up to the rounding of the program itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core

from deeplab.core.abstract import interval_choices as choices
from deeplab.core.abstract import interval_numbers as numbers
from deeplab.core.abstract.interval_values import INTERVALS, Interval, Rule
from deeplab.core.abstract.loops import run_loop
from deeplab.core.errors import UserError
from deeplab.core.interpret import Interpretation, interpret, traced
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import CALLS, CONTROL_FLOW
from deeplab.core.precision import exact

_RULES: dict[str, Rule] = {
    **dict.fromkeys((
        "acosh", "add", "add_any", "asin", "asinh", "atan", "atanh", "broadcast_in_dim", "cbrt", "ceil", "clamp",
        "concatenate", "copy", "cumlogsumexp", "cummax", "cummin", "cumsum", "erf", "erf_inv", "exp", "exp2",
        "expand_dims", "expm1", "floor", "log", "log1p", "logistic", "max", "min", "name", "optimization_barrier",
        "pad", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_precision", "reduce_sum",
        "reduce_window_max", "reduce_window_min", "reduce_window_sum", "reshape", "rev", "round",
        "sharding_constraint", "sign", "sinh", "slice", "split", "sqrt", "squeeze", "stack", "stop_gradient", "tanh",
        "tile", "transpose", "unstack",
    ), numbers.increasing),
    **dict.fromkeys(("acos", "erfc", "neg", "rsqrt"), numbers.decreasing),
    **dict.fromkeys(("dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general"), numbers.bilinear),
    **dict.fromkeys(("abs", "cosh", "square"), numbers.symmetric),
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne"), choices.compared),
    **dict.fromkeys(("and", "or", "xor", "not"), choices.logical),
    **dict.fromkeys(("argmax", "argmin"), choices.place),
    **dict.fromkeys(("gather", "dynamic_slice"), numbers.placed(0)),
    **dict.fromkeys(("scatter", "scatter-add", "scatter_add"), numbers.placed(0, 2)),
    "convert_element_type": choices.converted, "cos": numbers.wave(0.0), "div": numbers.divided,
    "dynamic_update_slice": numbers.placed(0, 1), "integer_pow": numbers.power, "is_finite": choices.finite,
    "mul": numbers.multiplied, "pow": numbers.raised, "select_n": choices.selected,
    "sin": numbers.wave(jnp.pi / 2), "sort": choices.sorted_, "sub": numbers.subtracted, "top_k": choices.top,
}  # fmt: skip


@exact
def bounds(f: Callable[..., Any], lower: Any, upper: Any, args: Sequence[Any] = ()) -> Interval:
    """Numbers between which every output of a program is, for all inputs between two others.

    Each equation is bounded by itself: what its arguments share is forgotten, so bounds are valid, and get wider with
    depth. A matrix product has its center and radius: W c +- |W| r, which for a network is interval bound propagation.

    Args:
      f: Function `f(x, *args)`.
      lower: Least inputs, a pytree of arrays.
      upper: Greatest inputs, of the same structure and shapes.
      args: Further inputs, which are what they are.

    Returns:
      The least and the greatest outputs, two pytrees in the shapes of the outputs; infinite where nothing is known.

    Raises:
      UserError: The bounds differ in their structure or their shapes, or a lower one is above its upper one.
      NotImplementedError: A primitive has no rule, or a loop of unknown length depends on the input.

    Example:
      >>> found = bounds(lambda x: jnp.maximum(x @ jnp.array([1.0, -2.0]), 0), jnp.zeros(2), jnp.array([1.0, 0.5]))
      >>> float(found.lower), float(found.upper)
      (0.0, 1.0)

    Source: Gowal et al. 2018, https://arxiv.org/abs/1810.12715.
    """
    check_ends(lower, upper)
    program, shape = traced(f, lower, *args)
    ends = zip(*(map(jnp.asarray, jax.tree.leaves(end)) for end in (lower, upper)), strict=True)
    values = [Interval(*end) for end in ends] + jax.tree.leaves(tuple(args))
    found = [INTERVALS.lift(out) for out in interpret(program, values, Interpretation(rule))]
    tree = jax.tree.structure(shape)
    return Interval(
        *(jax.tree.unflatten(tree, list(column)) for column in (zip(*found, strict=True) if found else ((), ())))
    )


def check_ends(lower: Any, upper: Any) -> None:
    """Refuses bounds of an input between which there is nothing; values are not looked at under a trace.

    Raises:
      UserError: They differ in their structure or their shapes, or a lower one is above its upper one.
    """
    shapes = [jax.tree.map(jnp.shape, end) for end in (lower, upper)]
    if shapes[0] != shapes[1]:
        raise UserError(f"the lower bounds have the shapes {shapes[0]}, the upper {shapes[1]}; give equal ones")
    for low, high in zip(jax.tree.leaves(lower), jax.tree.leaves(upper), strict=True):
        if not isinstance(low, Tracer) and not isinstance(high, Tracer) and not np.all(np.asarray(low <= high)):
            place = tuple(int(i[0]) for i in np.nonzero(~np.asarray(low <= high).reshape(np.shape(low))))
            raise UserError(
                f"the lower bound {np.asarray(low)[place]} at {place} is above the upper {np.asarray(high)[place]}, or "
                "one is not a number; give the lower bounds first"
            )


def rule(eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> Any:
    """The rule of an equation; see `deeplab.core.interpret`."""
    name = eqn.primitive.name
    if not any(isinstance(value, Interval) for value in inputs):
        return bind(eqn, inputs)
    if name in CALLS:
        return NotImplemented
    if name in CONTROL_FLOW:
        return run_loop(eqn, inputs, Interpretation(rule), scope, INTERVALS)
    if name not in _RULES:
        raise NotImplementedError(
            f"the primitive `{name}` in {scope or 'the program'} has no bounds; write that part by other functions"
        )
    return _RULES[name](eqn, inputs)
