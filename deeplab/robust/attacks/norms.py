"""Norms of perturbations: their balls within a box, steepest steps, random starts, and the way onto a hyperplane."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deeplab.robust.attacks import hyperplanes

Batched = Float[Array, "B ..."]
_HALVINGS = 40  # of the interval of a threshold, to the last bit of a float32


@dataclasses.dataclass(frozen=True)
class Norm:
    """A norm, as the functions that attacks need of it; B examples, each of any shape.

    Attributes:
      name: Name in messages.
      size: The norm of each example, [B].
      dual: The largest product with a vector of norm 1, [B].
      steepest: The vector of norm 1 with this product: `steepest(gradient, share)`, where in the sum norm a share of
        the coordinates moves, and at least one.
      project: `project(x, y, radius, low, high)`: y brought into the ball around x, and into the box.
      start: `start(keys, x, radius, low, high)`: a random point of the sphere around x, brought into the box.
      onto: The smallest step onto a hyperplane within the box; see `deeplab.robust.attacks.hyperplanes`.

    Example:
      >>> from deeplab.robust.attacks import L2
      >>> L2.size(jnp.array([[3.0, 4.0]])).tolist()
      [5.0]
    """

    name: str
    size: Callable[[Batched], Float[Array, " B"]]
    dual: Callable[[Batched], Float[Array, " B"]]
    steepest: Callable[..., Batched]
    project: Callable[..., Batched]
    start: Callable[..., Batched]
    onto: Callable[..., Any]


def by_row(values: Any, like: Batched) -> Array:
    """One number for each example, with the axes of the examples; a number for all stays as it is."""
    values = jnp.asarray(values)
    return values.reshape(-1, *[1] * (like.ndim - 1)) if values.ndim else values


def flat(x: Batched) -> Float[Array, "B D"]:
    """Each example as a row."""
    return x.reshape(len(x), -1)


def _unit(x: Batched, size: Callable[[Batched], Array]) -> Batched:
    return x / (by_row(size(x), x) + 1e-12)


def _max(x: Batched) -> Array:
    return jnp.max(jnp.abs(flat(x)), axis=1)


def _sum(x: Batched) -> Array:
    return jnp.sum(jnp.abs(flat(x)), axis=1)


def _length(x: Batched) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(flat(x)), axis=1))


def _clip(x: Batched, y: Batched, radius: Any, low: Any, high: Any) -> Batched:
    radius = by_row(radius, x)
    return jnp.clip(jnp.clip(y, x - radius, x + radius), low, high)


def _scale(x: Batched, y: Batched, radius: Any, low: Any, high: Any) -> Batched:
    """Scaled to the ball, then cut off at the box, which x is in: within both, though not the nearest such point."""
    length = _length(y - x)
    return jnp.clip(x + _unit(y - x, _length) * by_row(jnp.minimum(radius, length), x), low, high)


def _nearest_l1(x: Batched, y: Batched, radius: Any, low: Any, high: Any) -> Batched:
    """The point nearest to y in the ball and the box (Croce and Hein 2021, https://arxiv.org/abs/2103.01208).

    Every coordinate moves by min(max(|y - x| - t, 0), room), with the least t at which these sum up to the radius.
    """
    step = flat(y - x)
    room = jnp.broadcast_to(jnp.where(step > 0, flat(high - x), flat(x - low)), step.shape)
    most = jnp.abs(step)
    radius = jnp.broadcast_to(jnp.asarray(radius, x.dtype), (len(x),))[:, None]

    def of(t: Array) -> Array:
        return jnp.clip(most - t, 0, room)

    def halve(_: Any, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        below, above = interval
        middle = (below + above) / 2
        over = jnp.sum(of(middle), axis=1, keepdims=True) > radius
        return jnp.where(over, middle, below), jnp.where(over, above, middle)

    whole = (jnp.zeros_like(radius), jnp.max(most, axis=1, keepdims=True))
    t = jax.lax.fori_loop(0, _HALVINGS, halve, whole)[1]
    t = jnp.where(jnp.sum(of(jnp.zeros_like(t)), axis=1, keepdims=True) <= radius, 0, t)
    return x + (jnp.sign(step) * of(t)).reshape(x.shape)


def _largest(gradient: Batched, share: float = 0.0) -> Batched:
    """Signs of the largest coordinates, a share of them, of sum 1."""
    rows = flat(gradient)
    count = max(1, round(share * rows.shape[1]))
    _, where = jax.lax.top_k(jnp.abs(rows), count)
    signs = jnp.take_along_axis(jnp.sign(rows), where, axis=1) / count
    moved = jax.vmap(lambda signs, where: jnp.zeros(rows.shape[1], rows.dtype).at[where].set(signs))(signs, where)
    return moved.reshape(gradient.shape)


def _uniform(keys: PRNGKeyArray, x: Batched) -> Batched:
    return jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:], x.dtype, -1, 1))(keys)


def _normal(keys: PRNGKeyArray, x: Batched) -> Batched:
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)


def _start_linf(keys: PRNGKeyArray, x: Batched, radius: Any, low: Any, high: Any) -> Batched:
    return jnp.clip(x + by_row(radius, x) * _unit(_uniform(keys, x), _max), low, high)


def _start_l2(keys: PRNGKeyArray, x: Batched, radius: Any, low: Any, high: Any) -> Batched:
    return jnp.clip(x + by_row(radius, x) * _unit(_normal(keys, x), _length), low, high)


def _start_l1(keys: PRNGKeyArray, x: Batched, radius: Any, low: Any, high: Any) -> Batched:
    return _nearest_l1(x, x + _normal(keys, x), radius, low, high)


LINF = Norm(
    "linf", _max, _sum, lambda gradient, share=0.0: jnp.sign(gradient), _clip, _start_linf, hyperplanes.onto_linf
)
"""The largest change of a coordinate."""

L2 = Norm(
    "l2", _length, _length, lambda gradient, share=0.0: _unit(gradient, _length), _scale, _start_l2, hyperplanes.onto_l2
)
"""The Euclidean length."""

L1 = Norm("l1", _sum, _max, _largest, _nearest_l1, _start_l1, hyperplanes.onto_l1)
"""The sum of the changes of all coordinates."""
