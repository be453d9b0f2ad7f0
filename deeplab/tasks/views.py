"""Views of images, over which an evaluation averages its probabilities."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

View = Callable[[jax.Array], jax.Array]


def mirrored(x: jax.Array) -> jax.Array:
    """Images [B, H, W, C], left and right exchanged."""
    return x[:, :, ::-1]


def moved(by: int) -> View:
    """Moves images [B, H, W, C] along the diagonal, by so many pixels; the border is reflected.

    Example:
      >>> moved(1)(jnp.arange(9.0).reshape(1, 3, 3, 1))[0, :, :, 0].tolist()
      [[4.0, 5.0, 4.0], [7.0, 8.0, 7.0], [4.0, 5.0, 4.0]]
    """

    def view(x: jax.Array) -> jax.Array:
        edge = abs(by)
        padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="reflect")
        start = edge + by
        return padded[:, start : start + x.shape[1], start : start + x.shape[2]]

    return view


def mirrored_and_moved(by: int = 1) -> tuple[View, ...]:
    """Five views: the image moved both ways along the diagonal, and these two and the image itself mirrored.

    Example:
      >>> len(mirrored_and_moved())
      5

    Source: Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.5 (there the image itself weighs twice as much).
    """
    ways = moved(-by), moved(by)
    return *ways, mirrored, *(_then_mirrored(way) for way in ways)


def _then_mirrored(view: View) -> View:
    return lambda x: mirrored(view(x))
