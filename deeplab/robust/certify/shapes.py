"""Which functions of one number are bounded by which lines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from deeplab.core.abstract.interval_values import Interval
from deeplab.core.jaxpr import CALLS, inner_jaxprs
from deeplab.robust.certify import lines

Shape = Callable[[Any, Interval], lines.Lines]

# Where a function is defined on a part of the line, outside of it nothing is known.
_PRIMITIVES: dict[str, Shape] = {
    **dict.fromkeys(("abs", "cosh", "exp", "exp2", "expm1", "rsqrt", "square"), lines.convex),
    **dict.fromkeys(("erf", "logistic", "tanh"), lines.sigmoidal),
    **dict.fromkeys(("log", "log1p", "sqrt"), lines.concave),
    **dict.fromkeys(("cos", "sin"), lines.curved(-1, 1)),
}
# Calls of `jax.nn`, with the extremes of their second derivatives, rounded outwards: that of gelu is phi(x) (2 - x^2).
_CALLS = {"gelu": lines.curved(-0.13, 0.81), "silu": lines.curved(-0.12, 0.51)}


def shape_of(eqn: core.JaxprEqn) -> Shape | None:
    """The lines of an equation of one argument that depends on the input; None for one that has none."""
    name = eqn.primitive.name
    if name in CALLS:
        return _of_call(eqn)
    if name == "integer_pow":
        y = eqn.params["y"]
        return lines.convex if y > 0 and y % 2 == 0 else _reciprocal if y == -1 else None
    return _PRIMITIVES.get(name)


def _reciprocal(f: Any, x: Interval) -> lines.Lines:
    """Convex above 0, concave below."""
    above, below = lines.convex(f, x), lines.concave(f, x)
    return jax.tree.map(lambda a, b: jnp.where(x.lower > 0, a, jnp.where(x.upper < 0, b, jnp.nan)), above, below)


def _of_call(eqn: core.JaxprEqn) -> Shape | None:
    """The lines of a function of `jax.nn` that is one call of the program; None for another of its name."""
    name, aval = eqn.params.get("name"), eqn.outvars[0].aval
    if name not in _CALLS or len(eqn.invars) != 1 or len(eqn.outvars) != 1:
        return None
    exact = functools.partial(jax.nn.gelu, approximate=False)
    known = [jax.make_jaxpr(f)(aval).eqns[0] for f in {"gelu": [jax.nn.gelu, exact], "silu": [jax.nn.silu]}[name]]
    return _CALLS[name] if any(str(inner_jaxprs(eqn)) == str(inner_jaxprs(other)) for other in known) else None
