"""Augmentations: pure functions `(key, image) -> image` of one example.

An image is [H, W, C] floats in [0, 1], before standardisation; what comes in from outside is 0 unless said
otherwise. `Images.transform` maps them over the batch with a key for each example. Strengths are floats that may be
tracers; whole numbers shape the program. All are gathers of pixels: on two CPU cores a turn of a 28 x 28 image costs
5 us that way, and 50 us as three shears by matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

Augment = Callable[[jax.Array, jax.Array], jax.Array]
Float = float | jax.Array


def chain(*augments: Augment) -> Augment:
    """One after another, each with a key of its own.

    Example:
      >>> augment = chain(flip(), shift(2))
      >>> augment(jax.random.key(0), jnp.zeros((8, 8, 1))).shape
      (8, 8, 1)
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        for number, each in enumerate(augments):
            image = each(jax.random.fold_in(key, number), image)
        return image

    return augment


def shift(pixels: int, pad: Literal["zero", "edge", "reflect"] = "zero") -> Augment:
    """Moves by up to `pixels` along each axis, every offset alike.

    Args:
      pixels: the most it moves.
      pad: what comes in: black, the pixel at the edge, or the mirror image.
    """
    mode = {"zero": "constant", "edge": "edge", "reflect": "reflect"}[pad]

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)), mode=mode)
        top, left = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)

    return augment


def crop(padding: int = 4, pad: Literal["zero", "edge", "reflect"] = "zero") -> Augment:
    """A crop of the original size from the padded image (He et al. 2016, sec. 4.2): another name of `shift`."""
    return shift(padding, pad)


def flip(probability: Float = 0.5) -> Augment:
    """Mirrors left and right, with a probability."""

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)

    return augment


def rotate(degrees: Float) -> Augment:
    """Turns about the centre by an angle that is uniform in [-degrees, degrees]; bilinear."""

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        angle = jnp.deg2rad(degrees) * jax.random.uniform(key, minval=-1.0)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return affine(image, jnp.array([[cos, -sin], [sin, cos]]))

    return augment


def zoom(strength: Float) -> Augment:
    """Scales about the centre by exp(u), u uniform in [-strength, strength]; bilinear."""

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        factor = jnp.exp(-strength * jax.random.uniform(key, minval=-1.0))
        return affine(image, factor * jnp.eye(2))

    return augment


def warp(degrees: Float, strength: Float, pixels: Float) -> Augment:
    """Turns, zooms and moves by parts of a pixel, all in one resampling: a small image is blurred once, not thrice.

    Args:
      degrees: as of `rotate`.
      strength: as of `zoom`.
      pixels: the most it moves along each axis; offsets are uniform in [-pixels, pixels].
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        turn, size, *offset = jax.random.uniform(key, (4,), minval=-1.0)
        angle, factor = jnp.deg2rad(degrees) * turn, jnp.exp(-strength * size)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return affine(image, factor * jnp.array([[cos, -sin], [sin, cos]]), pixels * jnp.array(offset))

    return augment


def affine(image: jax.Array, matrix: jax.Array, offset: jax.Array | None = None) -> jax.Array:
    """Resamples an image: the pixel at p, from the centre, comes from matrix @ p + offset, bilinearly; 0 from outside.

    Args:
      image: [H, W, C].
      matrix: [2, 2], over (row, column).
      offset: [2], in pixels; zeros when None.
    """
    down_by, right_by = jnp.zeros(2) if offset is None else offset
    height, width, channels = image.shape
    y, x = jnp.mgrid[:height, :width] - jnp.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]  # [H, W] each
    row = matrix[0, 0] * y + matrix[0, 1] * x + down_by + (height - 1) / 2
    column = matrix[1, 0] * y + matrix[1, 1] * x + right_by + (width - 1) / 2
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]  # [H, W, 1], in [0, 1)
    # In a black border of two pixels, all that is farther out finds two black neighbours, too.
    pixels = jnp.pad(image, ((2, 2), (2, 2), (0, 0))).reshape(-1, channels)
    top = jnp.clip(top.astype(jnp.int32) + 2, 0, height + 2)
    left = jnp.clip(left.astype(jnp.int32) + 2, 0, width + 2)
    corner = top * (width + 4) + left  # one flat index: half the time of two

    def at(offset: int) -> jax.Array:
        return pixels.at[corner + offset].get(mode="promise_in_bounds")

    upper = at(0) * (1 - right) + at(1) * right
    lower = at(width + 4) * (1 - right) + at(width + 5) * right
    return upper * (1 - down) + lower * down


def erase(area: Float = 0.1, probability: Float = 0.5) -> Augment:
    """Blackens a rectangle (Zhong et al. 2020, https://arxiv.org/abs/1708.04896), clipped at the borders.

    Args:
      area: of the rectangle, as a fraction of the image's; its ratio of sides is between 1/2 and 2.
      probability: that it happens.
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        height, width, _ = image.shape
        keys = jax.random.split(key, 3)
        ratio = jnp.exp(jax.random.uniform(keys[0], minval=-jnp.log(2.0), maxval=jnp.log(2.0)) / 2)
        side = jnp.sqrt(area * jax.random.bernoulli(keys[1], probability))
        centre = jax.random.uniform(keys[2], (2,))
        rows = jnp.abs((jnp.arange(height) + 0.5) / height - centre[0]) < side * ratio / 2
        columns = jnp.abs((jnp.arange(width) + 0.5) / width - centre[1]) < side / ratio / 2
        return jnp.where((rows[:, None] & columns[None, :])[..., None], 0.0, image)

    return augment


def brightness(strength: Float) -> Augment:
    """Adds u to every pixel, u uniform in [-strength, strength]; clipped to [0, 1]."""

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.clip(image + strength * jax.random.uniform(key, minval=-1.0), 0.0, 1.0)

    return augment


def contrast(strength: Float) -> Augment:
    """Scales the distance from the image's mean by 1 + u, u uniform in [-strength, strength]; clipped to [0, 1]."""

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        mean = jnp.mean(image)
        factor = 1 + strength * jax.random.uniform(key, minval=-1.0)
        return jnp.clip(mean + factor * (image - mean), 0.0, 1.0)

    return augment
