"""RandAugment: random operations of one common strength.

Cubuk et al. 2020, https://arxiv.org/abs/1909.13719, with the ranges of torchvision's `RandAugment` and the arithmetic
of Pillow, on floats.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float as Floats

from deeplab.core import ranges
from deeplab.data.augment.base import Augment, Float
from deeplab.data.augment.geometry import affine

Image = Floats[Array, "H W C"]

NUM_OPERATIONS = 14
"""Identity, two shears, two translations, rotation, brightness, color, contrast, sharpness, posterize, solarize,
autocontrast, equalize: numbered in this order."""


@ranges.checked(num_operations=ranges.Range(at_least=0, whole=True), magnitude=ranges.Range(at_least=0, at_most=10))
def rand_augment(num_operations: int = 2, magnitude: Float = 9.0) -> Augment:
    """Applies operations drawn with replacement from fourteen; signed ones get a random sign.

    Args:
      num_operations: Number of operations, N in the paper.
      magnitude: Strength of all operations from 0 to 10, M in the paper; at 0 nothing changes.

    Example:
      >>> rand_augment(2, 9.0)(jax.random.key(0), jnp.ones((32, 32, 3))).shape
      (32, 32, 3)
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        for number in range(num_operations):
            which, sign = jax.random.split(jax.random.fold_in(key, number))
            level = jnp.asarray(magnitude, jnp.float32) / 10
            signed = jnp.where(jax.random.bernoulli(sign), level, -level)
            image = operation(image, jax.random.randint(which, (), 0, NUM_OPERATIONS), level, signed)
        return image

    return augment


def operation(image: Image, number: jax.Array, level: jax.Array, signed: jax.Array) -> Image:
    """One operation. All are computed, because every example of a batch draws its own.

    Args:
      image: Image in [0, 1].
      number: Number of the operation, below `NUM_OPERATIONS`.
      level: Strength in [0, 1].
      signed: `level` or its negative.
    """
    image = _move(image, number, signed)
    gray = _gray(image)
    colors = [
        image,
        image * (1 + 0.9 * signed),
        _blend(gray, image, 0.9 * signed),
        _blend(jnp.mean(gray), image, 0.9 * signed),
        _blend(_smooth(image), image, 0.9 * signed),
        posterize(image, jnp.round(4 * level)),
        solarize(image, 1 - level),
        jnp.where(level > 0, autocontrast(image), image),  # these two have no strength; 0 must change nothing
        jnp.where(level > 0, equalize(image), image),
    ]
    chosen = jnp.maximum(
        number - (NUM_OPERATIONS - len(colors)), 0
    )  # the first operations are geometric, or change nothing
    return jnp.clip(jnp.stack(colors)[chosen], 0.0, 1.0)


def _move(image: Image, number: jax.Array, signed: jax.Array) -> Image:
    """Shears by up to 0.3, translates by up to 0.45 of the side, rotates by up to 30 degrees: numbers 1 to 5."""
    shear, move, angle = 0.3 * signed, 0.45 * signed, jnp.deg2rad(30.0) * signed
    height, width, _ = image.shape
    zero, one = jnp.zeros_like(signed), jnp.ones_like(signed)
    rows = [  # entries of the matrix over (row, column), and of the offset
        (one, zero, zero, one, zero, zero),
        (one, zero, shear, one, zero, zero),
        (one, shear, zero, one, zero, zero),
        (one, zero, zero, one, zero, width * move),
        (one, zero, zero, one, height * move, zero),
        (jnp.cos(angle), -jnp.sin(angle), jnp.sin(angle), jnp.cos(angle), zero, zero),
    ]
    a, b, c, d, down, right = jnp.stack([jnp.stack(row) for row in rows])[jnp.where(number < len(rows), number, 0)]
    return affine(image, jnp.array([[a, b], [c, d]]), jnp.array([down, right]))


def _blend(other: jax.Array, image: Image, strength: jax.Array) -> Image:
    """Extrapolates away from `other`, or interpolates toward it where the strength is negative."""
    return other + (1 + strength) * (image - other)


def _gray(image: Image) -> Floats[Array, "H W 1"]:
    weights = jnp.array([0.299, 0.587, 0.114]) if image.shape[-1] == 3 else jnp.full(image.shape[-1], 1.0)
    return jnp.sum(image * (weights / jnp.sum(weights))[None, None, :], axis=-1, keepdims=True)


def _smooth(image: Image) -> Image:
    """The 3 x 3 mean with a fivefold center; the border is unchanged."""
    height, width, _ = image.shape
    around = sum(image[i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3))
    return image.at[1:-1, 1:-1].set((around + 4 * image[1:-1, 1:-1]) / 13)


def posterize(image: Image, bits: jax.Array) -> Image:
    """Drops the lowest `bits` of each value's eight; at 0 the image is untouched."""
    step = 2.0**bits
    return jnp.where(bits > 0, jnp.floor(jnp.round(image * 255) / step) * step / 255, image)


def solarize(image: Image, threshold: jax.Array) -> Image:
    """Inverts the values from a threshold on; from 1 on none."""
    return jnp.where((image >= threshold) & (threshold < 1), 1 - image, image)


def autocontrast(image: Image) -> Image:
    """Stretches each channel to [0, 1]; a constant one stays."""
    low, high = jnp.min(image, axis=(0, 1), keepdims=True), jnp.max(image, axis=(0, 1), keepdims=True)
    return jnp.where(high > low, (image - low) / jnp.where(high > low, high - low, 1.0), image)


def equalize(image: Image) -> Image:
    """Gives each channel an even histogram of 256 values, as Pillow's `ImageOps.equalize` does."""
    values = jnp.round(image * 255).astype(jnp.int32)

    def channel(value: jax.Array) -> jax.Array:
        counts = jnp.bincount(value.reshape(-1), length=256)
        step = (value.size - counts[jnp.max(value)]) // 255
        table = jnp.minimum((step // 2 + jnp.cumsum(counts) - counts) // jnp.maximum(step, 1), 255)
        return jnp.where(step > 0, table[value], value)

    return jax.vmap(channel, in_axes=2, out_axes=2)(values) / 255
