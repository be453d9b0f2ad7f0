"""How well items answer a query: products of vectors."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Candidates = Int[Array, " C"] | Int[Array, "B C"] | Int[Array, "B P C"]
"""Numbers of items: the same for all examples, of each example, or of each of its places."""


def dot_scores(query: Float[Array, "B P D"], items: Float[Array, "*axes C D"]) -> Float[Array, "B P C"]:
    """Products of each query with the candidates: those of all examples [C, D], of its example, or of its place.

    Example:
      >>> query = jnp.ones((2, 3, 4))
      >>> [dot_scores(query, jnp.ones((*axes, 5, 4))).shape for axes in ((), (2,), (2, 3))]
      [(2, 3, 5), (2, 3, 5), (2, 3, 5)]
    """
    letters = {2: "cd", 3: "bcd", 4: "bpcd"}[items.ndim]
    return jnp.einsum(f"bpd,{letters}->bpc", query, items)


def at_places(x: Float[Array, "B T D"], places: Int[Array, "B P"]) -> Float[Array, "B P D"]:
    """The vectors of some places of each sequence."""
    return jnp.take_along_axis(x, places[..., None], axis=1)
