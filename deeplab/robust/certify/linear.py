"""Bounds of the outputs of any program by linear functions of its inputs (CROWN), and by intervals where none is known.

They hold in real arithmetic; in floating point, up to the rounding of the program itself, whose products of float32 are
of float32 on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.abstract import intervals
from deeplab.core.abstract.interval_values import Interval
from deeplab.core.abstract.intervals import bounds as bounds  # under this name in `certify`, too
from deeplab.core.interpret import Interpretation, interpret, traced
from deeplab.core.precision import exact
from deeplab.robust.certify.rules import Rules
from deeplab.robust.certify.tape import Node, tightened

Intermediate = Literal["linear", "interval"]


@exact
@ranges.checked(intermediate=ranges.OneOf(Intermediate))
def linear_bounds(
    f: Callable[..., Any],
    lower: Any,
    upper: Any,
    args: Sequence[Any] = (),
    *,
    intermediate: Intermediate = "linear",
) -> Interval:
    """Numbers between which every output of a program is, for all inputs between two others; tighter than `bounds`.

    What goes into a curved function is bounded by linear functions of the inputs, and what comes out lies between two
    lines; they are handed back from the outputs to the inputs, so that what values share is kept. No bound is wider
    than that of intervals. A function without lines, which a warning names, is bounded by intervals.

    Args:
      f: Function `f(x, *args)`.
      lower: Least inputs, a pytree of arrays.
      upper: Greatest inputs, of the same structure and shapes.
      args: Further inputs, which are what they are.
      intermediate: How what goes into a curved function is bounded: "linear", which costs a pass back for each of its
        entries, or "interval", which costs nothing (CROWN-IBP).

    Returns:
      The least and the greatest outputs, two pytrees in the shapes of the outputs; infinite where nothing is known.

    Raises:
      UserError: The bounds differ in their structure or their shapes, or a lower one is above its upper one.
      NotImplementedError: A primitive has no bounds at all, or a loop of unknown length depends on the input.

    Example (which intervals put between -1.9 and 1.9):
      >>> found = linear_bounds(lambda x: jnp.tanh(x) - x / 2, -jnp.ones(1), jnp.ones(1))
      >>> bool(found.upper[0] < 0.6)
      True

    Source: Zhang et al. 2018, https://arxiv.org/abs/1811.00866; CROWN-IBP: Zhang et al. 2020,
    https://arxiv.org/abs/1906.06316.
    """
    found, tree = taped(f, lower, upper, args, tight=intermediate == "linear")
    ends = [tightened(out).interval if isinstance(out, Node) else Interval(out, out) for out in found]
    return Interval(*(jax.tree.unflatten(tree, [end[i] for end in ends]) for i in (0, 1)))


def taped(f: Callable[..., Any], lower: Any, upper: Any, args: Sequence[Any] = (), *, tight: bool) -> tuple[list, Any]:
    """The outputs of a program as nodes of a tape, or as arrays where they do not depend on the input; and their tree.

    Args:
      f: Function `f(x, *args)`.
      lower: Least inputs, a pytree of arrays.
      upper: Greatest inputs, of the same structure and shapes.
      args: Further inputs, which are what they are.
      tight: Whether what goes into a curved function is bounded by linear functions of the inputs.
    """
    intervals.check_ends(lower, upper)
    program, shape = traced(f, lower, *args)
    ends = zip(jax.tree.leaves(lower), jax.tree.leaves(upper), strict=True)
    values = [Node(jnp.asarray(low), jnp.asarray(high)) for low, high in ends] + jax.tree.leaves(tuple(args))
    return interpret(program, values, Interpretation(Rules(tight))), jax.tree.structure(shape)
