"""The bounds of the outputs of equations that compare and choose."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend import core

from deeplab.core.abstract.interval_numbers import increasing
from deeplab.core.abstract.interval_values import Interval, check_given, ends_of, lift
from deeplab.core.jax_compat import bind


def compared(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    (a, b), (a1, b1) = ends_of(inputs)
    name = eqn.primitive.name
    if name in ("lt", "le"):
        return [Interval(bind(eqn, [a1, b])[0], bind(eqn, [a, b1])[0])]
    if name in ("gt", "ge"):
        return [Interval(bind(eqn, [a, b1])[0], bind(eqn, [a1, b])[0])]
    if eqn.invars[0] is eqn.invars[1]:  # a number is itself: the question is whether it is one
        finite = jnp.isfinite(a) & jnp.isfinite(a1)
        return [Interval(finite, jnp.ones_like(finite)) if name == "eq" else Interval(jnp.zeros_like(finite), ~finite)]
    certain, possible = (a == a1) & (b == b1) & (a == b), (a <= b1) & (b <= a1)
    return [Interval(certain, possible) if name == "eq" else Interval(~possible, ~certain)]


def finite(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    """What has two finite ends is finite; what is an infinity at both of them is not."""
    (pair,) = inputs
    low, high = (bind(eqn, [end])[0] for end in pair)
    return [Interval(low & high, low | high | (pair.lower != pair.upper))]


def logical(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    ends = ends_of(inputs)
    if any(not jnp.issubdtype(jnp.result_type(x), jnp.bool_) for x in ends[0]):
        raise NotImplementedError(f"the primitive `{eqn.primitive.name}` has no bounds for integers")
    corners = [bind(eqn, list(corner))[0] for corner in _corners(*ends)]
    return [Interval(functools.reduce(jnp.logical_and, corners), functools.reduce(jnp.logical_or, corners))]


def _corners(lower: Sequence[Any], upper: Sequence[Any]) -> list[tuple[Any, ...]]:
    corners: list[tuple[Any, ...]] = [()]
    for pair in zip(lower, upper, strict=True):
        corners = [(*corner, end) for corner in corners for end in pair]
    return corners


def selected(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    """The hull of the cases that may be chosen."""
    which, *cases = inputs
    if not isinstance(which, Interval):
        return increasing(eqn, inputs)
    chosen, pairs = Interval(*(end.astype("int32") for end in which)), list(map(lift, cases))
    lower, upper = pairs[0]
    may = chosen.lower <= 0
    for k, pair in enumerate(pairs[1:], 1):
        here = (chosen.lower <= k) & (chosen.upper >= k)
        ends = jnp.minimum(lower, pair.lower), jnp.maximum(upper, pair.upper)
        lower = jnp.where(here, jnp.where(may, ends[0], pair.lower), lower)
        upper = jnp.where(here, jnp.where(may, ends[1], pair.upper), upper)
        may = may | here
    return [Interval(lower, upper)]


def converted(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    (pair,) = inputs
    if not jnp.issubdtype(eqn.params["new_dtype"], jnp.bool_):
        return increasing(eqn, inputs)
    zero = (pair.lower <= 0) & (pair.upper >= 0)
    return [Interval(~zero, (pair.lower != 0) | (pair.upper != 0))]


def place(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    """Any place along the axis whose number may be the highest is between the first and the last."""
    (pair,), aval = inputs, eqn.outvars[0].aval
    (axis,) = eqn.params["axes"]
    sign = 1 if eqn.primitive.name == "argmax" else -1
    low, high = (pair.lower, pair.upper) if sign == 1 else (-pair.upper, -pair.lower)
    may = high >= jnp.max(low, axis=axis, keepdims=True)
    dtype: Any = aval.dtype  # pyright: ignore[reportAttributeAccessIssue] - of an array
    last = may.shape[axis] - 1 - jnp.argmax(jnp.flip(may, axis), axis)
    return [Interval(jnp.argmax(may, axis).astype(dtype), last.astype(dtype))]


def sorted_(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    check_given(eqn, inputs[1:], "what is sorted along")
    if len(inputs) > 1:
        check_given(eqn, inputs, "what is sorted by")
    return increasing(eqn, inputs)


def top(eqn: core.JaxprEqn, inputs: list[Any]) -> list[Interval]:
    (pair,) = inputs
    (lower, places), (upper, _) = (bind(eqn, [end]) for end in pair)
    last = jnp.full_like(places, pair.lower.shape[eqn.params.get("axis", -1)] - 1)
    return [Interval(lower, upper), Interval(jnp.zeros_like(places), last)]
