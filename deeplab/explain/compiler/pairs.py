"""Values of the compiler: what an array is at the input, at the baseline, and how it moves from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from deeplab.core.abstract.loops import Domain


class Pair(NamedTuple):
    """An array that depends on the input.

    `move` is linear in the move of the program's inputs, and is `at - base` where they move all the way from the
    baseline to the input. Its derivative by the program's inputs is thus the multiplier of a difference of the inputs.
    Numbers that choose (indices, truth values) move like any others: by parts of their difference.

    Attributes:
      at: Array at the input.
      base: Array at the baseline.
      move: Floating-point array of the same shape.
    """

    at: jax.Array
    base: jax.Array
    move: jax.Array


Bound = Callable[..., list[jax.Array]]
"""A primitive with its parameters, from arrays to arrays."""


def at(values: Sequence[Any]) -> list[jax.Array]:
    """The arrays at the input."""
    return [value.at if isinstance(value, Pair) else value for value in values]


def base(values: Sequence[Any]) -> list[jax.Array]:
    """The arrays at the baseline."""
    return [value.base if isinstance(value, Pair) else value for value in values]


def moves(values: Sequence[Any]) -> list[jax.Array]:
    """The moves; what does not depend on the input does not move."""
    return [value.move if isinstance(value, Pair) else jnp.zeros_like(floating(value)) for value in values]


def floating(x: jax.Array) -> jax.Array:
    """An array as numbers that can be divided."""
    return x if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else jnp.asarray(x, jnp.result_type(float))


def bounded(x: Any) -> Any:
    """A constant without the infinite and the largest numbers, as masks have: a difference can be divided by theirs.

    1e-9 divided by the numbers that stand for them is still a number of that type, not 0.
    """
    dtype = jnp.result_type(x)
    if not jnp.issubdtype(dtype, jnp.floating):
        return x
    large = float(jnp.finfo(dtype).max) ** 0.75
    with jax.ensure_compile_time_eval():  # weights are constants, too: they stay what they are
        return jnp.clip(x, -large, large) if isinstance(x, Tracer) or bool((jnp.abs(x) > large).any()) else x


def still(x: Any) -> Pair:
    """An array that does not depend on the input, as one that could."""
    return x if isinstance(x, Pair) else Pair(x, x, jnp.zeros(jnp.shape(x), floating(jnp.asarray(x)).dtype))


PAIRS = Domain(Pair, still, lambda value: value.at if isinstance(value, Pair) else value)


def difference(pair: Pair) -> jax.Array:
    """at - base, of truth values and integers, too."""
    return floating(pair.at) - floating(pair.base)


def divided(part: jax.Array, whole: jax.Array) -> jax.Array:
    """part / whole, and 0 where the whole is."""
    safe = jnp.where(whole == 0, 1, whole)
    return jnp.where(whole == 0, 0, part / safe)


def share(pair: Pair, axes: Sequence[int] | None = None) -> jax.Array:
    """How much of its whole difference an array has moved, over some of its axes, which stay with size 1: 1 in the end.

    Each entry counts by its difference; where there is none, the share is 0.
    """
    axes = tuple(range(jnp.ndim(pair.at))) if axes is None else tuple(axes)
    towards = jnp.sign(difference(pair))
    whole = jnp.sum(jnp.abs(difference(pair)), axis=axes, keepdims=True)
    return divided(jnp.sum(towards * pair.move, axis=axes, keepdims=True), whole)


def shared(pairs: Sequence[Pair]) -> jax.Array:
    """How much of their differences arrays have moved together: the mean over those that differ."""
    differ = sum(jnp.any(difference(pair) != 0).astype("int32") for pair in pairs)
    return jnp.asarray(sum(jnp.sum(share(pair)) for pair in pairs) / jnp.maximum(differ, 1))


def by_membership(rows: jax.Array, matrices: jax.Array, sizes: jax.Array) -> jax.Array:
    """A product of ragged groups of rows [T, C] with their own matrices [K, C, D], by the membership of each row.

    It is one of ordinary equations, which `vmap` and the rules take.
    """
    ends, places = jnp.cumsum(sizes)[None], jnp.arange(len(rows))[:, None]
    before = [(places < end).astype(rows.dtype) for end in (ends, ends - sizes[None])]
    return jnp.einsum("tk,tc,kcd->td", before[0] - before[1], rows, matrices)
