"""Equations that choose: the difference that a choice makes goes to the numbers that made it.

Where the input and the baseline choose otherwise, one half of the difference is what the two chosen things differ by,
and the other half is the choice itself, which the numbers made that it was made by: each has a share of it by how far
it moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from deeplab.explain.compiler.pairs import Bound, Pair, at, base, difference, divided, floating, moves, share, shared


def _compared(eqn: core.JaxprEqn, bound: Bound, inputs: list[Any]) -> list[Pair]:
    """a < b and its like: a step, which the difference of the two climbs."""
    del eqn
    (y,), (y0,) = bound(*at(inputs)), bound(*base(inputs))
    a, b = inputs
    margin: Any = difference(a) if isinstance(a, Pair) else 0.0
    margin = margin - (difference(b) if isinstance(b, Pair) else 0.0)
    moved = (a.move if isinstance(a, Pair) else 0.0) - (b.move if isinstance(b, Pair) else 0.0)
    return [Pair(y, y0, divided(floating(y) - floating(y0), margin) * moved)]


def _exchanged(take: Callable[[Any, Any], Any], of: Any, chosen: Pair, part: jax.Array) -> Pair:
    """take(of, chosen): half by what is taken, at both choices; half by the choice, `part` of which is made."""
    if isinstance(of, Pair):
        values, values0, move = floating(of.at), floating(of.base), of.move
        moved = (take(move, chosen.at) + take(move, chosen.base)) / 2
    else:
        values, values0, moved = floating(of), floating(of), 0.0
    made = sum(take(v, chosen.at) - take(v, chosen.base) for v in (values, values0)) / 2
    y, y0 = take(at([of])[0], chosen.at), take(base([of])[0], chosen.base)
    return Pair(y, y0, jnp.broadcast_to(moved + made * part, y.shape).astype(floating(y).dtype))


def _selected(eqn: core.JaxprEqn, bound: Bound, inputs: list[Any]) -> list[Pair]:
    """One of several cases, by a number or a truth value."""
    del eqn
    which, *cases = inputs
    if not isinstance(which, Pair):
        moved = [case.move if isinstance(case, Pair) else jnp.zeros_like(floating(case)) for case in cases]
        values = zip(bound(*at(inputs)), bound(*base(inputs)), bound(which, *moved), strict=True)
        return [Pair(*value) for value in values]
    part = divided(which.move, difference(which))
    numbers = [floating(case.move) if isinstance(case, Pair) else jnp.zeros_like(floating(case)) for case in cases]
    moved = sum(bound(end, *numbers)[0] for end in (which.at, which.base)) / 2
    made = 0.0
    for end in (at(cases), base(cases)):
        wide = [floating(case) for case in end]
        made = made + (bound(which.at, *wide)[0] - bound(which.base, *wide)[0]) / 2
    (y,), (y0,) = bound(*at(inputs)), bound(*base(inputs))
    return [Pair(y, y0, moved + made * part)]


def _highest(eqn: core.JaxprEqn, bound: Bound, inputs: list[Any]) -> list[Pair]:
    """A maximum moves as the number at its place: the input's where it rises, the baseline's where it falls."""
    (pair,) = inputs
    (y,), (y0,) = bound(pair.at), bound(pair.base)

    def at_place_of(x: jax.Array, move: jax.Array) -> jax.Array:
        if eqn.primitive.name.startswith("reduce_m"):  # its derivative compares x with y, which XLA may round otherwise
            rows, moved = (_flat(value, eqn.params["axes"]) for value in (x, move))
            place = (jnp.argmax if eqn.primitive.name == "reduce_max" else jnp.argmin)(rows, axis=-1, keepdims=True)
            return jnp.take_along_axis(moved, place, axis=-1)[..., 0]
        return jax.jvp(lambda x: bound(x)[0], (floating(x),), (move,))[1]

    (moved, whole), (moved0, whole0) = ([at_place_of(x, m) for m in (pair.move, difference(pair))] for x in pair[:2])
    apart = floating(y) - floating(y0)
    inputs_place = apart >= 0 if eqn.primitive.name.endswith("max") else apart <= 0
    return [Pair(y, y0, jnp.where(inputs_place, moved * divided(apart, whole), moved0 * divided(apart, whole0)))]


def _flat(x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """These axes as the last one."""
    others = [i for i in range(x.ndim) if i not in axes]
    return x.transpose(*others, *axes).reshape(*(x.shape[i] for i in others), -1)


def _place(eqn: core.JaxprEqn, bound: Bound, inputs: list[Any]) -> list[Pair]:
    """The index of a maximum moves by the margin between the two highest numbers."""
    (pair,), axes = inputs, eqn.params["axes"]
    (y,), (y0,) = bound(pair.at), bound(pair.base)

    def margin(x: jax.Array) -> jax.Array:
        taken = [jnp.take_along_axis(x, jnp.expand_dims(i, axes), axes[0]).squeeze(axes) for i in (y, y0)]
        return taken[0] - taken[1]

    return [Pair(y, y0, (floating(y) - floating(y0)) * divided(margin(pair.move), margin(difference(pair))))]


def _any(eqn: core.JaxprEqn, bound: Bound, inputs: list[Any]) -> list[Pair]:
    """Whether any or all are true: made by those that changed."""
    (pair,), axes = inputs, eqn.params["axes"]
    (y,), (y0,) = bound(pair.at), bound(pair.base)
    return [Pair(y, y0, (floating(y) - floating(y0)) * jnp.squeeze(share(pair, axes), axes))]


def _sorted(eqn: core.JaxprEqn, bound: Bound, inputs: list[Any]) -> list[Pair]:
    """Operands in the order of the first ones; an order is made by all numbers that it compares."""
    axis, keys = eqn.params["dimension"], eqn.params["num_keys"]
    places = jax.lax.broadcasted_iota("int32", jnp.shape(at(inputs)[0]), axis)
    order = [
        jax.lax.sort((*arrays, places), dimension=axis, is_stable=eqn.params["is_stable"], num_keys=keys)[-1]
        for arrays in (at(inputs), base(inputs))
    ]
    del bound
    chosen = Pair(order[0], order[1], order[0])
    moving = [pair for pair in inputs[:keys] if isinstance(pair, Pair)]
    part: Any = sum(share(pair, (axis,)) for pair in moving) / max(len(moving), 1)
    return [_exchanged(lambda x, i: jnp.take_along_axis(x, i, axis), of, chosen, part) for of in inputs]


def _top(eqn: core.JaxprEqn, bound: Bound, inputs: list[Any]) -> list[Pair]:
    """The k highest numbers along the last axis and their places."""
    (pair,) = inputs
    (_, chosen), (_, chosen0) = bound(pair.at), bound(pair.base)
    axis = eqn.params.get("axis", -1) % jnp.ndim(pair.at)
    places = jax.lax.broadcasted_iota(chosen.dtype, pair.at.shape, axis)
    index, part = Pair(chosen, chosen0, chosen), share(pair, (axis,))
    return [_exchanged(lambda x, i: jnp.take_along_axis(x, i, axis), of, index, part) for of in (pair, places)]


def _indexed(eqn: core.JaxprEqn, bound: Bound, inputs: list[Any]) -> list[Pair]:
    """What stands at computed places: rows of a gather each by its own index, others by all of them."""
    name = eqn.primitive.name
    places = 2 if name.startswith("dynamic_update") else 1
    linear = [i for i in range(len(inputs)) if i < places or (name.startswith("scatter") and i == 2)]
    index = [pair for i, pair in enumerate(inputs) if i not in linear and isinstance(pair, Pair)]
    if name == "gather":
        numbers, pair = eqn.params["dimension_numbers"], index[0]
        part = jnp.squeeze(share(pair, (jnp.ndim(pair.at) - 1,)), -1)
        out: Any = eqn.outvars[0].aval
        rows = [i for i in range(out.ndim) if i not in numbers.offset_dims]
        part = jax.lax.broadcast_in_dim(part, out.shape, rows)
    else:
        part = shared(index)

    def taken(operands: list[Any], indices: list[Any]) -> jax.Array:
        return bound(*(operands[i] if i in linear else indices[i] for i in range(len(inputs))))[0]

    ends = at(inputs), base(inputs)
    wide = [[floating(x) if i in linear else x for i, x in enumerate(end)] for end in ends]
    still = [floating(move) if i in linear else inputs[i] for i, move in enumerate(moves(inputs))]
    moved = sum(taken(still, end) for end in ends) / 2
    made = sum(taken(end, ends[0]) - taken(end, ends[1]) for end in wide) / 2
    (y,), (y0,) = bound(*ends[0]), bound(*ends[1])
    return [Pair(y, y0, moved + made * part)]


Rule = Callable[[core.JaxprEqn, Bound, list[Any]], list[Pair]]
CHOICES: dict[str, Rule] = {
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "lt_to", "le_to"), _compared),
    **dict.fromkeys(("reduce_max", "reduce_window_max", "cummax"), _highest),
    **dict.fromkeys(("reduce_min", "reduce_window_min", "cummin"), _highest),
    **dict.fromkeys(("argmax", "argmin"), _place),
    **dict.fromkeys(
        ("gather", "dynamic_slice", "dynamic_update_slice", "scatter", "scatter-add", "scatter_add"), _indexed
    ),
    **dict.fromkeys(("reduce_or", "reduce_and"), _any),
    "select_n": _selected,
    "sort": _sorted,
    "top_k": _top,
}
