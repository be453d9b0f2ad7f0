"""Interval arithmetic: the bounds of the outputs of equations that compute numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from deeplab.core.abstract.interval_values import Interval, Rule, check_given, ends_of, hull, lift, made
from deeplab.core.jax_compat import bind


def increasing(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    """Of all arguments, or what moves numbers; where those that say where are known."""
    lower, upper = (bind(eqn, end) for end in ends_of(inputs))
    return [made(*pair) for pair in zip(lower, upper, strict=True)]


def placed(*operands: int) -> Rule:
    """Increasing in some operands, for given values of the others."""

    def rule(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
        check_given(eqn, [value for i, value in enumerate(inputs) if i not in operands])
        return increasing(eqn, inputs)

    return rule


def decreasing(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    ((lower,), (upper,)) = ends_of(inputs)
    return [made(bind(eqn, [upper])[0], bind(eqn, [lower])[0])]


def subtracted(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    (a, b), (a1, b1) = ends_of(inputs)
    return [made(bind(eqn, [a, b1])[0], bind(eqn, [a1, b])[0])]


def multiplied(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    if eqn.invars[0] is eqn.invars[1] and eqn.primitive.name == "mul":  # a quotient is corners of both, too
        return [_even(inputs[0], lambda x: x * x)]
    lower, upper = ends_of(inputs)
    pairs = {(id(a), id(b)): (a, b) for a in (lower[0], upper[0]) for b in (lower[1], upper[1])}
    return [hull([bind(eqn, pair)[0] for pair in pairs.values()])]


def divided(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    (found,), below = multiplied(eqn, inputs), lift(inputs[1])
    if jnp.issubdtype(found.lower.dtype, jnp.floating):
        return [_unless((below.lower <= 0) & (below.upper >= 0), found)]
    check_given(eqn, inputs[1:], "integers")
    return [found]


def _unless(unknown: jax.Array, known: Interval) -> Interval:
    return Interval(jnp.where(unknown, -jnp.inf, known.lower), jnp.where(unknown, jnp.inf, known.upper))


def _even(pair: Interval, function: Callable[[jax.Array], jax.Array]) -> Interval:
    """An even function that grows away from 0."""
    far, near = (
        jnp.maximum(jnp.abs(pair.lower), jnp.abs(pair.upper)),
        jnp.minimum(jnp.abs(pair.lower), jnp.abs(pair.upper)),
    )
    near = jnp.where((pair.lower <= 0) & (pair.upper >= 0), jnp.zeros_like(near), near)
    return made(function(near), function(far))


def symmetric(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    return [_even(inputs[0], lambda x: bind(eqn, [x])[0])]


def power(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    n, (pair,) = eqn.params["y"], inputs
    if n < 0:
        positive = _even(pair, lambda x: x**-n) if n % 2 == 0 else Interval(*(x**-n for x in pair))
        return [_unless((pair.lower <= 0) & (pair.upper >= 0), hull([1 / positive.lower, 1 / positive.upper]))]
    return symmetric(eqn, inputs) if n % 2 == 0 else increasing(eqn, inputs)


def raised(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    """x^y of positive x, which is monotone in each."""
    lower, upper = ends_of(inputs)
    corners = [bind(eqn, [x, y])[0] for x in (lower[0], upper[0]) for y in (lower[1], upper[1])]
    return [_unless(jnp.asarray(lower[0] < 0), hull(corners))]


def bilinear(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    """By centers and radii."""
    left, right, *rest = inputs
    check_given(eqn, rest, "sizes")
    (c, r), (d, s) = _round(left), _round(right)
    center = bind(eqn, [c, d, *rest])[0]
    radius: Any = 0.0
    if s is not None:
        radius = bind(eqn, [jnp.abs(c), s, *rest])[0]
    if r is not None:
        radius = radius + bind(eqn, [r, jnp.abs(d) if s is None else jnp.abs(d) + s, *rest])[0]
    return [made(center - radius, center + radius)]


def _round(value: Any) -> tuple[jax.Array, jax.Array | None]:
    if not isinstance(value, Interval):
        return value, None
    return value.lower / 2 + value.upper / 2, value.upper / 2 - value.lower / 2


def wave(shift: float) -> Rule:
    """cos(x - shift)."""

    def rule(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
        (pair,) = inputs
        found, turns = hull([bind(eqn, [x])[0] for x in pair]), [(x - shift) / (2 * jnp.pi) for x in pair]
        top = jnp.ceil(turns[0]) <= jnp.floor(turns[1])
        bottom = jnp.ceil(turns[0] - 0.5) <= jnp.floor(turns[1] - 0.5)
        return [Interval(jnp.where(bottom, -1, found.lower), jnp.where(top, 1, found.upper))]

    return rule
