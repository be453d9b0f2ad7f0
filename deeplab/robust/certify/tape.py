"""Programs as a tape of linear bounds: each value lies between two linear functions of the values that it is made of.

A linear function of a value is handed back through the tape, each equation replaced by its lower or its upper line
where the coefficient is positive or negative, until it is one of values whose intervals are known.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.abstract.interval_values import Interval
from deeplab.robust.certify.lines import Lines

_AT_ONCE = 1 << 24  # coefficients that are handed back at once: 64 MiB of float32 for each value

Pull = Callable[[jax.Array], tuple[jax.Array, Sequence[jax.Array]]]
"""From the coefficients of a value to a constant, and the coefficients of its parents."""


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """A value that depends on the input.

    Attributes:
      lower: Least values.
      upper: Greatest values.
      parents: Values that it is made of; none where only its interval is known, as of the input.
      pull: Lower bound of a linear function of the value, as one of its parents'.
      affine: Whether it is an affine function of its parents, so that nothing is lost.
    """

    lower: Any
    upper: Any
    parents: tuple[Node, ...] = ()
    pull: Pull | None = None
    affine: bool = False

    @property
    def interval(self) -> Interval:
        return Interval(self.lower, self.upper)

    @property
    def floating(self) -> bool:
        return jnp.issubdtype(jnp.result_type(self.lower), jnp.floating)


def least(node: Node, coefficients: jax.Array, through: Callable[[Node], bool]) -> jax.Array:
    """Lower bounds of linear functions of a value, [M].

    Args:
      node: Value.
      coefficients: Coefficients of the functions, [M, *shape of the value].
      through: Whether a value is replaced by those that it is made of; else its interval is taken.
    """
    order = {id(found): place for place, found in enumerate(_ordered(node))}
    pending, total = {id(node): (node, coefficients)}, jnp.zeros(len(coefficients), coefficients.dtype)
    while pending:
        node, a = pending.pop(max(pending, key=order.__getitem__))
        if node.pull is None or not through(node):
            total = total + _ends(a, node)
            continue
        constant, parts = jax.vmap(node.pull)(a)
        total = total + constant
        for parent, part in zip(node.parents, parts, strict=True):
            before = pending.get(id(parent))
            pending[id(parent)] = parent, part if before is None else before[1] + part
    return total


def tightened(node: Node) -> Node:
    """The value with the bounds that linear functions of the input give, where they are the better ones."""
    if node.pull is None or not node.floating:
        return node
    size, shape = math.prod(node.lower.shape), node.lower.shape
    largest = max(math.prod(found.lower.shape) for found in _ordered(node))

    def of_one(place: jax.Array) -> jax.Array:
        one = jax.nn.one_hot(place, size, dtype=node.lower.dtype).reshape(shape)
        return least(node, jnp.stack([one, -one]), lambda _: True)

    count = max(1, _AT_ONCE // (2 * max(largest, 1)))
    places = jnp.arange(size)
    found = jax.vmap(of_one)(places) if size <= count else jax.lax.map(of_one, places, batch_size=count)
    lower, upper = (jnp.where(jnp.isnan(x), -jnp.inf, x).reshape(shape) for x in (found[:, 0], found[:, 1]))
    return within(node, Interval(lower, -upper))


def within(node: Node, found: Interval) -> Node:
    """The value, of which another interval is known, too."""
    lower, upper = jnp.maximum(node.lower, found.lower), jnp.minimum(node.upper, found.upper)
    crossed = lower > upper  # by rounding
    ends = jnp.where(crossed, node.lower, lower), jnp.where(crossed, node.upper, upper)
    return dataclasses.replace(node, lower=ends[0], upper=ends[1])


def between(found: Interval, parents: tuple[Node, ...], each: Sequence[Lines]) -> Node:
    """A value between sums of lines.

    Args:
      found: Interval of the value.
      parents: Values that it is a function of.
      each: Lines of each.
    """

    def pull(a: jax.Array) -> tuple[jax.Array, Sequence[jax.Array]]:
        over, under = jnp.maximum(a, 0), jnp.minimum(a, 0)
        sums = [jnp.sum(weighted(over, one.below[1]) + weighted(under, one.above[1])) for one in each]
        parts = [over * one.below[0] + under * one.above[0] for one in each]
        shaped = [_of_shape(part, parent.lower.shape) for part, parent in zip(parts, parents, strict=True)]
        return sum(sums, jnp.zeros((), a.dtype)), shaped

    return Node(found.lower, found.upper, parents, pull)


def _of_shape(part: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The coefficients of an argument that the program repeats along some axes."""
    if part.shape == shape:
        return part
    axes = [i for i in range(part.ndim) if not shape or shape[i] != part.shape[i]]
    return jnp.sum(part, axis=tuple(axes)).reshape(shape)


def weighted(a: jax.Array, x: Any) -> jax.Array:
    """a x, and 0 where a is, however large x is."""
    return jnp.where(a == 0, 0, a * x)


def _ends(a: jax.Array, node: Node) -> jax.Array:
    """Least values of linear functions of a value in its interval, [M]."""
    over = tuple(range(1, a.ndim))
    return jnp.sum(weighted(jnp.maximum(a, 0), node.lower[None]) + weighted(jnp.minimum(a, 0), node.upper[None]), over)


def _ordered(node: Node) -> list[Node]:
    """A value and all that it is made of, each after its parents."""
    found: dict[int, Node] = {}
    stack = [(node, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            found.setdefault(id(node), node)
        elif id(node) not in found:
            stack.append((node, True))
            stack += [(parent, False) for parent in node.parents]
    return list(found.values())
