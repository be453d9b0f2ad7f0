"""Attacks on explanations: an input that looks the same, is classified the same, and is explained differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.jax_compat import plain_operations
from deeplab.explain.trust.features import ranks


class Attacked(NamedTuple):
    """Inputs whose map has been moved.

    Attributes:
      inputs: Inputs [B, ...] within the box.
      overlap: Share of the largest features that are still among the largest, [B]; the inputs keep their class.
    """

    inputs: Array
    overlap: Float[Array, " B"]


def attack_explanation(
    logits: Callable[[Array], Float[Array, "B K"]],
    method: Callable[[Array], Array],
    x: Array,
    *,
    eps: float = 8 / 255,
    steps: int = 50,
    share: float = 0.1,
    smoothed: Callable[[Array], Array] | None = None,
    low: Any = -jnp.inf,
    high: Any = jnp.inf,
) -> Attacked:
    """Moves the input within a box so that its largest features are no longer the largest, and its class stays.

    Signed steps against the mean size of the map where it was largest, in units of its mean size everywhere. The best
    input of the same class is kept, so that the overlap is 1 at most, that of no move.

    Args:
      logits: Function from inputs to logits.
      method: Function from inputs to their map.
      x: Inputs [B, ...].
      eps: Half of the width of the box.
      steps: Number of steps.
      share: Share of the features that count as the largest.
      smoothed: Method with derivatives that gives the direction of the steps, such as that of the model with softplus
        in place of rectifiers, whose gradient has none; `method` when None.
      low: Least value of an input.
      high: Largest value of an input.

    Example:
      >>> logits = lambda x: jnp.stack([x.sum(axis=1), -x.sum(axis=1)], axis=1)
      >>> found = attack_explanation(logits, lambda x: x**2, jnp.array([[3.0, 1.0, 1.1]]), eps=0.1, steps=2, share=0.3)
      >>> found.overlap.tolist()  # so small a box moves nothing
      [1.0]

    Source: Ghorbani, Abid and Zou 2019, https://arxiv.org/abs/1710.10547; Dombrowski et al. 2019,
    https://arxiv.org/abs/1906.07983 (softplus).
    """
    guide, kept = plain_operations()(smoothed or method), jnp.argmax(logits(x), axis=-1)
    at = jnp.abs(method(x))
    count = max(1, round(share * at[0].size))
    largest = ranks(at) < count

    def overlap(x: Array) -> Array:
        return jnp.sum((ranks(jnp.abs(method(x))) < count) & largest, axis=tuple(range(1, at.ndim))) / count

    def left(x: Array) -> Array:
        size = jnp.abs(guide(x))
        axes = tuple(range(1, size.ndim))
        return jnp.sum(jnp.sum(jnp.where(largest, size, 0), axis=axes) / (jnp.sum(size, axis=axes) + 1e-12))

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple[Any, None]:
        moved, best, least = carry
        moved = jnp.clip(moved - 2.5 * eps / steps * jnp.sign(jax.grad(left)(moved)), x - eps, x + eps)
        moved = jnp.clip(moved, low, high)
        now = jnp.where(jnp.argmax(logits(moved), axis=-1) == kept, overlap(moved), jnp.inf)
        better = now < least
        over = better.reshape(-1, *(1,) * (x.ndim - 1))
        return (moved, jnp.where(over, moved, best), jnp.where(better, now, least)), None

    first = (x, x, jnp.ones(len(x), at.dtype))
    return Attacked(*jax.lax.scan(step, first, length=steps)[0][1:])
