"""Intervals: arrays between two others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from deeplab.core.abstract.loops import Domain


class Interval(NamedTuple):
    """Arrays between two others; of truth values, what is certainly true and what may be.

    Attributes:
      lower: Least values.
      upper: Greatest values.
    """

    lower: Any
    upper: Any


Rule = Callable[[core.JaxprEqn, list[Any]], list[Interval]]


def lift(value: Any) -> Interval:
    return value if isinstance(value, Interval) else Interval(jnp.asarray(value), jnp.asarray(value))


INTERVALS = Domain(Interval, lift, lambda value: value.lower if isinstance(value, Interval) else value)


def ends_of(inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    pairs = [lift(value) for value in inputs]
    return [pair.lower for pair in pairs], [pair.upper for pair in pairs]


def made(lower: jax.Array, upper: jax.Array) -> Interval:
    """An interval; where an end is not a number, as inf - inf, nothing is known."""
    if not jnp.issubdtype(lower.dtype, jnp.floating):
        return Interval(lower, upper)
    return Interval(jnp.where(jnp.isnan(lower), -jnp.inf, lower), jnp.where(jnp.isnan(upper), jnp.inf, upper))


def hull(arrays: Sequence[jax.Array]) -> Interval:
    """The least interval around some arrays."""
    return made(functools.reduce(jnp.minimum, arrays), functools.reduce(jnp.maximum, arrays))


def check_given(eqn: core.JaxprEqn, values: Sequence[Any], what: str = "indices") -> None:
    if any(isinstance(value, Interval) for value in values):
        raise NotImplementedError(f"the primitive `{eqn.primitive.name}` has no bounds for {what} that are not known")
