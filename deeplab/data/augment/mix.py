"""Mixing: pure functions `(key, batch) -> batch` of a training batch, for the argument `mix` of data.

`image` is [B, H, W, C] in [0, 1]. `label` is [B] int32, or [B, K] float32 if it was mixed before, and becomes [B, K].
Example b is mixed with its neighbor in the batch, which the shuffled order chose, in a proportion drawn with its own
`fold_in(key, id)`; it stays as it is if that has weight 0. It keeps its id and weight. Strengths are floats that
may be tracers.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.data.base import Batch, Mix

Float = float | jax.Array


@ranges.checked(alpha=ranges.NATURAL, num_classes=ranges.COUNT)
def mixup(alpha: Float, num_classes: int) -> Mix:
    """Weighted means of two images and of their labels (Zhang et al. 2018, https://arxiv.org/abs/1710.09412).

    x <- l x_b + (1 - l) x_(b-1), y likewise, with l from Beta(alpha, alpha).

    Args:
      alpha: Parameter of the Beta distribution; at 0 nothing is mixed.
      num_classes: Number of classes K.

    Example:
      >>> batch = {"image": jnp.ones((4, 8, 8, 3)), "label": jnp.arange(4)}
      >>> batch |= {"id": jnp.arange(4), "weight": jnp.ones(4)}
      >>> mixup(0.2, num_classes=10)(jax.random.key(0), batch)["label"].shape
      (4, 10)
    """

    def mix(key: jax.Array, batch: Batch) -> Batch:
        share = jnp.where(_is_mixed(batch), _beta(_keys(key, batch), alpha), 1.0)
        return batch | {
            "image": _between(batch["image"], share[:, None, None, None]),
            "label": _between(_one_hot(batch["label"], num_classes), share[:, None]),
        }

    return mix


@ranges.checked(alpha=ranges.NATURAL, num_classes=ranges.COUNT)
def cutmix(alpha: Float, num_classes: int) -> Mix:
    """A rectangle of one image on another, labels by area (Yun et al. 2019, https://arxiv.org/abs/1905.04899).

    The rectangle has the image's proportions and a share 1 - l of its area, with l from Beta(alpha, alpha). Its center
    is uniform, and it is clipped to the image. Labels are mixed by the share of pixels that were replaced.

    Args:
      alpha: Parameter of the Beta distribution; at 0 nothing is mixed.
      num_classes: Number of classes K.

    Example:
      >>> batch = {"image": jnp.ones((4, 8, 8, 3)), "label": jnp.arange(4)}
      >>> batch |= {"id": jnp.arange(4), "weight": jnp.ones(4)}
      >>> float(cutmix(1.0, num_classes=10)(jax.random.key(0), batch)["label"].sum())
      4.0
    """

    def mix(key: jax.Array, batch: Batch) -> Batch:
        keys = _keys(key, batch)
        side = jnp.sqrt(1 - _beta(keys, alpha))  # [B], as a fraction
        center = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (2,)))(keys)  # [B, 2]
        height, width = batch["image"].shape[1:3]
        rows, columns = (
            jnp.abs((jnp.arange(size) + 0.5)[None, :] / size - center[:, axis, None]) < side[:, None] / 2
            for axis, size in enumerate((height, width))
        )
        rows = rows & _is_mixed(batch)[:, None]
        own = 1.0 - (rows[:, :, None] & columns[:, None, :])  # [B, H, W]
        return batch | {
            "image": _between(batch["image"], own[..., None]),
            "label": _between(_one_hot(batch["label"], num_classes), jnp.mean(own, axis=(1, 2))[:, None]),
        }

    return mix


@ranges.checked(probability=ranges.FRACTION)
def either(first: Mix, second: Mix, probability: Float = 0.5) -> Mix:
    """Mixes each example by `first` with a probability, and otherwise by `second`.

    Example:
      >>> mix = either(mixup(0.8, 10), cutmix(1.0, 10))
    """

    def mix(key: jax.Array, batch: Batch) -> Batch:
        one, other = (each(jax.random.fold_in(key, i), batch) for i, each in enumerate((first, second)))
        keys = _keys(jax.random.fold_in(key, 2), batch)
        chosen = jax.vmap(lambda k: jax.random.bernoulli(k, 1.0 * probability))(keys)  # [B]

        def choose(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)

        return jax.tree.map(choose, one, other)

    return mix


def _keys(key: jax.Array, batch: Batch) -> Any:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["id"])


def _is_mixed(batch: Batch) -> jax.Array:
    """Whether an example has a neighbor to be mixed with, [B]: one that is no padding."""
    return jnp.roll(batch["weight"], 1) > 0


def _beta(keys: jax.Array, alpha: Float) -> jax.Array:
    """A draw from Beta(alpha, alpha) for each key, [B]; 1 where alpha is 0."""
    safe = jnp.maximum(alpha, 1e-3)  # the gradient of 0 and the logarithm of 0 are kept out of the program
    return jnp.where(alpha > 0, jax.vmap(lambda k: jax.random.beta(k, safe, safe))(keys), 1.0)


def _between(x: jax.Array, share: jax.Array) -> jax.Array:
    """share x_b + (1 - share) x_(b-1)."""
    return share * x + (1 - share) * jnp.roll(x, 1, axis=0)


def _one_hot(label: jax.Array, num_classes: int) -> jax.Array:
    return label if label.ndim == 2 else jax.nn.one_hot(label, num_classes)
