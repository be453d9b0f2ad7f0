"""The type of an augmentation, and their composition."""

from __future__ import annotations

from collections.abc import Callable

import jax

Augment = Callable[[jax.Array, jax.Array], jax.Array]
"""`(key, image) -> image`, pure: one example, [H, W, C] floats in [0, 1]."""

Float = float | jax.Array
"""A strength: a Python float, or a tracer."""


def chain(*augments: Augment) -> Augment:
    """Applies augmentations one after another, each with a key of its own.

    Example:
      >>> from deeplab.data.augment import flip, shift
      >>> augment = chain(flip(), shift(2))
      >>> augment(jax.random.key(0), jax.numpy.zeros((8, 8, 1))).shape
      (8, 8, 1)
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        for number, each in enumerate(augments):
            image = each(jax.random.fold_in(key, number), image)
        return image

    return augment
