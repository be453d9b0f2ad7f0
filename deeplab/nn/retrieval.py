"""Dot-product scores of candidate items."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Candidates = Int[Array, " C"] | Int[Array, "B C"] | Int[Array, "B P C"]
"""Item ids: shared by all examples, per example, or per position of each example."""


def dot_scores(query: Float[Array, "B P D"], items: Float[Array, "*axes C D"]) -> Float[Array, "B P C"]:
    """Dot products of queries and candidates, which are shared [C, D], per example or per position.

    Example:
      >>> query = jnp.ones((2, 3, 4))
      >>> [dot_scores(query, jnp.ones((*axes, 5, 4))).shape for axes in ((), (2,), (2, 3))]
      [(2, 3, 5), (2, 3, 5), (2, 3, 5)]
    """
    letters = {2: "cd", 3: "bcd", 4: "bpcd"}[items.ndim]
    return jnp.einsum(f"bpd,{letters}->bpc", query, items)


def gather_positions(x: Float[Array, "B T D"], positions: Int[Array, "B P"]) -> Float[Array, "B P D"]:
    """The vectors at the given positions of each sequence.

    Example:
      >>> x = jnp.arange(8.0).reshape(2, 4, 1)
      >>> gather_positions(x, jnp.array([[0, 3], [1, 1]]))[..., 0].tolist()
      [[0.0, 3.0], [5.0, 5.0]]
    """
    return jnp.take_along_axis(x, positions[..., None], axis=1)
