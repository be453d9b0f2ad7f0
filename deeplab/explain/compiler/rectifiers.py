"""Programs in which rectifiers and maxima are replaced: what depends on the input is known, the rest is left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from deeplab.core.abstract.loops import Domain, run_loop
from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jax_compat import bind, literal
from deeplab.core.jaxpr import CALLS, CONTROL_FLOW

_ZEROS = ("broadcast_in_dim", "reshape", "convert_element_type")


class Live(NamedTuple):
    """An array that depends on the input."""

    at: jax.Array


def _at(value: Any) -> jax.Array:
    return value.at if isinstance(value, Live) else value


LIVE = Domain(Live, lambda value: value if isinstance(value, Live) else Live(jnp.asarray(value)), _at)


@dataclasses.dataclass(frozen=True)
class Replaced:
    """The rule of equations; see `deeplab.core.interpret`.

    Attributes:
      replace: Function from an equation and its arrays, some of them `Live`, to its output; None for its own.
    """

    replace: Callable[[core.JaxprEqn, list[Any]], jax.Array | None]

    def __call__(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> Any:
        name = eqn.primitive.name
        if not any(isinstance(value, Live) for value in inputs):
            zero = name in _ZEROS and len(inputs) == 1 and is_zero(eqn.invars[0], inputs[0])
            return [np.zeros(v.aval.shape, v.aval.dtype) for v in eqn.outvars] if zero else bind(eqn, inputs)  # pyright: ignore[reportAttributeAccessIssue] - of an array
        if name in CALLS:
            return NotImplemented
        if name in CONTROL_FLOW:
            values = [_at(inputs[0]), *inputs[1:]] if name == "cond" else inputs
            return run_loop(eqn, values, Interpretation(self), scope, LIVE)
        if (out := self.replace(eqn, inputs)) is not None:
            return [Live(out)]
        return [Live(y) for y in bind(eqn, list(map(_at, inputs)))]


def is_zero(atom: Any, value: Any) -> bool:
    """Whether an argument is known to be 0: one that is written down, or an array of it."""
    known = literal(atom) if isinstance(atom, core.Literal) else value
    return isinstance(known, (int, float, np.generic, np.ndarray)) and not np.any(known)


def run(program: core.ClosedJaxpr, inputs: list[Any], replace: Callable[..., jax.Array | None]) -> list[jax.Array]:
    """The outputs of a program for inputs that are `Live`, or constants."""
    return [_at(out) for out in interpret(program, inputs, Interpretation(Replaced(replace)))]


def backwards(pull: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[core.JaxprEqn, list[Any]], Any]:
    """Replaces max(x, 0) by itself with pull(x, cotangent) for the cotangent of x."""

    @jax.custom_vjp
    def rectified(x: jax.Array) -> jax.Array:
        return jnp.maximum(x, 0)

    rectified.defvjp(lambda x: (jnp.maximum(x, 0), x), lambda x, g: (pull(x, g),))

    def replace(eqn: core.JaxprEqn, inputs: list[Any]) -> jax.Array | None:
        if eqn.primitive.name != "max":
            return None
        for i, value in enumerate(inputs):
            if isinstance(value, Live) and is_zero(eqn.invars[1 - i], inputs[1 - i]):
                return rectified(value.at)
        return None

    return replace


def smooth(beta: Any) -> Callable[[core.JaxprEqn, list[Any]], Any]:
    """Replaces max(a, b) by log(exp(beta a) + exp(beta b)) / beta, and min and clamp likewise."""

    def larger(a: Any, b: Any) -> jax.Array:
        return jnp.logaddexp(beta * a, beta * b) / beta

    def replace(eqn: core.JaxprEqn, inputs: list[Any]) -> jax.Array | None:
        arrays = list(map(_at, inputs))
        if not all(jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in arrays):
            return None
        if eqn.primitive.name == "max":
            return larger(*arrays)
        if eqn.primitive.name == "min":
            return -larger(*(-x for x in arrays))
        if eqn.primitive.name == "clamp":
            low, x, high = arrays
            return -larger(-larger(x, low), -high)
        return None

    return replace
