"""The nearest point of a hyperplane within a box, in three norms: the step of FAB.

Croce and Hein 2020, https://arxiv.org/abs/1907.02044. B points of D coordinates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_MOST = 100  # steps of Newton's method; it ends after the last coordinate that meets the box, in ten or so

Points = Float[Array, "B D"]


def onto_linf(x: Points, w: Points, b: Float[Array, " B"], low: Points, high: Points) -> Points:
    """The smallest step in the maximum norm from x onto {z: w z = b} within the box; as far as it goes if none is.

    Example:
      >>> onto_linf(jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.array([1.0]), jnp.zeros((1, 2)), jnp.ones((1, 2))).tolist()
      [[0.5, 0.5]]
    """
    missing, sign, room = _towards(x, w, b, low, high)
    return sign * _filled(jnp.abs(w), jnp.ones_like(w), jnp.where(w != 0, room, 0), missing)


def onto_l2(x: Points, w: Points, b: Float[Array, " B"], low: Points, high: Points) -> Points:
    """The shortest step from x onto {z: w z = b} within the box; as far as it goes if none is."""
    missing, sign, room = _towards(x, w, b, low, high)
    scale = jnp.maximum(jnp.max(jnp.abs(w), axis=1, keepdims=True), 1e-30)  # so that squares do not vanish
    v = jnp.abs(w) / scale
    return sign * _filled(v, v, jnp.where(jnp.abs(w) > 1e-8, room, 0), missing / scale[:, 0])


def onto_l1(x: Points, w: Points, b: Float[Array, " B"], low: Points, high: Points) -> Points:
    """The smallest step in the sum norm from x onto {z: w z = b} within the box: the steepest coordinates first."""
    missing, sign, room = _towards(x, w, b, low, high)
    a = jnp.abs(w)
    room = jnp.where(a > 1e-8, room, 0)
    order = jnp.argsort(-a, axis=1)
    gains = jnp.take_along_axis(_product(a, room), order, axis=1)
    before = jnp.cumsum(jnp.pad(gains, ((0, 0), (1, 0)))[:, :-1], axis=1)
    still = jnp.maximum(missing[:, None] - before, 0) / jnp.maximum(jnp.take_along_axis(a, order, axis=1), 1e-30)
    back = jnp.argsort(order, axis=1)
    return sign * jnp.minimum(jnp.take_along_axis(still, back, axis=1), room)


def _towards(x: Points, w: Points, b: Array, low: Points, high: Points) -> tuple[Array, Points, Points]:
    """What w z has to change by, the direction of each coordinate, and its room to the box."""
    missing = jnp.sum(w * x, axis=1) - b
    sign = jnp.where((missing >= 0)[:, None], -jnp.sign(w), jnp.sign(w))
    return jnp.abs(missing), sign, jnp.where(sign > 0, high - x, jnp.where(sign < 0, x - low, 0))


def _filled(a: Points, v: Points, room: Points, missing: Float[Array, " B"]) -> Points:
    """min(t v, room) with the least t at which a sums it up to what is missing; the room where no t does.

    The sum is concave in t, so that Newton's method from t = 0 climbs to the root, and meets it in a finite number of
    steps: when no further coordinate meets the box.
    """
    gain = _product(a, room)

    def newton(t: Array) -> Array:
        full = t[:, None] * v >= room
        slope = jnp.sum(jnp.where(full, 0, a * v), axis=1)
        left = missing - jnp.sum(jnp.where(full, gain, 0), axis=1)
        return jnp.where(slope > 0, jnp.maximum(left, 0) / jnp.maximum(slope, 1e-37), jnp.inf)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, t, count = carry
        return t, jnp.maximum(t, newton(t)), count + 1

    start = jnp.zeros_like(missing)
    moves = lambda carry: jnp.any(carry[1] > carry[0]) & (carry[2] < _MOST)  # noqa: E731
    _, t, _ = jax.lax.while_loop(moves, step, (start - 1, start, jnp.zeros((), int)))
    return jnp.minimum(jnp.where(v > 0, t[:, None] * jnp.where(v > 0, v, 1), 0), room)


def _product(a: Points, room: Points) -> Points:
    """a times room, and 0 where a is 0 and the box has no end."""
    return jnp.where(a > 0, a * jnp.where(a > 0, room, 0), 0)
