"""Views of images, over which an evaluation averages its probabilities (test-time augmentation)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

View = Callable[[jax.Array], jax.Array]


def mirrored(x: jax.Array) -> jax.Array:
    """Flips images [B, H, W, C] horizontally.

    Example:
      >>> mirrored(jnp.arange(3.0).reshape(1, 1, 3, 1)).ravel().tolist()
      [2.0, 1.0, 0.0]
    """
    return x[:, :, ::-1]


def moved(by: int) -> View:
    """Makes the view that shifts images [B, H, W, C] by `by` pixels along the diagonal; the border is reflected.

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
    """Five views: the image shifted both ways along the diagonal, and the flips of these two and of the image.

    Example:
      >>> len(mirrored_and_moved())
      5

    Source: Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.5 (where the image itself has twice the weight).
    """
    ways = moved(-by), moved(by)
    return *ways, mirrored, *(_then_mirrored(way) for way in ways)


def _then_mirrored(view: View) -> View:
    return lambda x: mirrored(view(x))
