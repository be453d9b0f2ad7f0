"""Straight lines below and above functions of one number on an interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deeplab.core.abstract.interval_values import Interval

Function = Callable[[jax.Array], jax.Array]
_HALVINGS = 20  # of the interval in which a tangent is looked for; any of its ends is a valid bound, so few are enough


class Lines(NamedTuple):
    """slope x + offset below and above.

    Attributes:
      below: Slope and offset of the lower line.
      above: Slope and offset of the upper line.
    """

    below: tuple[jax.Array, jax.Array]
    above: tuple[jax.Array, jax.Array]


def constant(found: Interval) -> Lines:
    """Lines of slope 0, from an interval of the values."""
    zero = jnp.zeros_like(found.lower)
    return Lines((zero, found.lower), (zero, found.upper))


def rectifier(x: Interval) -> Lines:
    """max(x, 0): the chord above; below x itself or 0, whichever leaves the smaller area."""
    low, high = jnp.minimum(x.lower, 0), jnp.maximum(x.upper, 0)
    wide = high > low
    slope = jnp.where(wide, high / jnp.where(wide, high - low, 1), 0)
    slope = jnp.where(x.lower >= 0, 1, slope)
    offset = jnp.where(x.lower >= 0, 0, -slope * low)
    below = (x.upper > -x.lower).astype(slope.dtype)
    return Lines((below, jnp.zeros_like(below)), (slope, offset))


def gate(x: Interval, chosen: Interval) -> Lines:
    """x or 0, by a truth value that may not be known: between min(x, 0) and max(x, 0)."""
    above, below = rectifier(x).above, rectifier(Interval(-x.upper, -x.lower)).above
    known, taken = chosen.lower == chosen.upper, chosen.lower.astype(x.lower.dtype)
    slopes = [jnp.where(known, taken, slope) for slope in (below[0], above[0])]
    offsets = [jnp.where(known, 0, offset) for offset in (-below[1], above[1])]
    return Lines((slopes[0], offsets[0]), (slopes[1], offsets[1]))


def _chord(f: Function, x: Interval) -> tuple[jax.Array, jax.Array]:
    wide = x.upper > x.lower
    slope = jnp.where(wide, (f(x.upper) - f(x.lower)) / jnp.where(wide, x.upper - x.lower, 1), 0)
    return slope, jnp.maximum(f(x.lower) - slope * x.lower, f(x.upper) - slope * x.upper)


def _tangent(f: Function, at: jax.Array) -> tuple[jax.Array, jax.Array]:
    y, slope = jax.jvp(f, (at,), (jnp.ones_like(at),))
    return slope, y - slope * at


def _negative(line: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return -line[0], -line[1]


def convex(f: Function, x: Interval) -> Lines:
    """The chord above, and the tangent in the middle below."""
    return Lines(_tangent(f, x.lower / 2 + x.upper / 2), _chord(f, x))


def concave(f: Function, x: Interval) -> Lines:
    """The chord below, and the tangent in the middle above."""
    lines = convex(lambda x: -f(x), x)
    return Lines(_negative(lines.above), _negative(lines.below))


def sigmoidal(f: Function, x: Interval) -> Lines:
    """Of a function that is convex below 0, concave above, and point-symmetric around its value at 0."""
    slope, offset = _above_sigmoidal(f, Interval(-x.upper, -x.lower))
    return Lines((slope, 2 * f(jnp.zeros_like(slope)) - offset), _above_sigmoidal(f, x))


def _above_sigmoidal(f: Function, x: Interval) -> tuple[jax.Array, jax.Array]:
    """The tangent that is above the function at the lower end, if there is one on the right of 0; else the chord."""

    def is_above(at: jax.Array) -> jax.Array:
        slope, offset = _tangent(f, at)
        return slope * x.lower + offset >= f(x.lower)

    low, high = jnp.maximum(x.lower, 0), jnp.maximum(x.upper, 0)
    exists = is_above(high) & (x.upper > 0)

    def halved(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = is_above(middle)
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    low, high = jax.lax.fori_loop(0, _HALVINGS, halved, (low, high))
    tangent, chord = _tangent(f, jnp.maximum(high, (x.lower + x.upper) / 2)), _chord(f, x)
    return jnp.where(exists, tangent[0], chord[0]), jnp.where(exists, tangent[1], chord[1])


def curved(least: float, greatest: float) -> Callable[[Function, Interval], Lines]:
    """Of a function whose second derivative is between two numbers: the chord, moved by what it can be off."""

    def of(f: Function, x: Interval) -> Lines:
        slope, offset = _chord(f, x)
        off = (x.upper - x.lower) ** 2 / 8
        low = jnp.minimum(f(x.lower) - slope * x.lower, f(x.upper) - slope * x.upper)
        return Lines((slope, low - max(greatest, 0) * off), (slope, offset + max(-least, 0) * off))

    return of


def better(lines: Lines, found: Interval, x: Interval) -> Lines:
    """The lines, or where they leave more in the middle, or are not finite, constant ones."""
    middle, flat = x.lower / 2 + x.upper / 2, constant(found)

    def chosen(sign: int, line: tuple[jax.Array, jax.Array], other: tuple[jax.Array, jax.Array]) -> tuple:
        value = line[0] * middle + line[1]
        use = (sign * value >= sign * other[1]) & jnp.isfinite(line[0]) & jnp.isfinite(line[1])
        return tuple(jnp.where(use, a, b) for a, b in zip(line, other, strict=True))

    return Lines(chosen(1, lines.below, flat.below), chosen(-1, lines.above, flat.above))
