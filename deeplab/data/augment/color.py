"""Changes of pixel values: brightness, contrast, gamma, saturation, grayscale, erased rectangles."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.data.augment.base import Augment, Float


@ranges.checked(strength=ranges.NATURAL)
def brightness(strength: Float) -> Augment:
    """Adds u to every pixel, u uniform in [-strength, strength]; clipped to [0, 1].

    Example:
      >>> brightness(0.2)(jax.random.key(0), jnp.full((4, 4, 3), 0.5)).std().round(4).item()  # the same for all pixels
      0.0
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.clip(image + strength * jax.random.uniform(key, minval=-1.0), 0.0, 1.0)

    return augment


@ranges.checked(strength=ranges.NATURAL)
def contrast(strength: Float) -> Augment:
    """Scales the distance from the image's mean by 1 + u, u uniform in [-strength, strength]; clipped to [0, 1].

    Example:
      >>> contrast(0.5)(jax.random.key(0), jnp.full((4, 4, 3), 0.25)).mean().round(4).item()  # a gray image has none
      0.25
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        mean = jnp.mean(image)
        factor = 1 + strength * jax.random.uniform(key, minval=-1.0)
        return jnp.clip(mean + factor * (image - mean), 0.0, 1.0)

    return augment


@ranges.checked(strength=ranges.NATURAL)
def gamma(strength: Float) -> Augment:
    """Raises every pixel to the power exp(u), u uniform in [-strength, strength]: another exposure or time of day.

    Example:
      >>> gamma(0.0)(jax.random.key(0), jnp.full((2, 2, 1), 0.25))[0, 0].round(4).tolist()
      [0.25]
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.maximum(image, 1e-6) ** jnp.exp(strength * jax.random.uniform(key, minval=-1.0))

    return augment


@ranges.checked(strength=ranges.NATURAL)
def saturation(strength: Float) -> Augment:
    """Scales each pixel's distance from its gray, the mean of channels, by 1 + u, u uniform in [-strength, strength].

    The result is clipped to [0, 1].

    Example:
      >>> saturation(0.5)(jax.random.key(0), jnp.full((2, 2, 3), 0.25))[0, 0].round(4).tolist()  # gray stays gray
      [0.25, 0.25, 0.25]
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        gray = jnp.mean(image, axis=-1, keepdims=True)
        factor = 1 + strength * jax.random.uniform(key, minval=-1.0)
        return jnp.clip(gray + factor * (image - gray), 0.0, 1.0)

    return augment


@ranges.checked(probability=ranges.FRACTION)
def grayscale(probability: Float = 0.2) -> Augment:
    """Replaces the channels by their mean with a probability, as views without labels do: colors are no shortcut then.

    Chen et al. 2020, appendix A, https://arxiv.org/abs/2002.05709.

    Example:
      >>> grayscale(1.0)(jax.random.key(0), jnp.arange(3.0).reshape(1, 1, 3))[0, 0].tolist()
      [1.0, 1.0, 1.0]
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        gray = jnp.broadcast_to(jnp.mean(image, axis=-1, keepdims=True), image.shape)
        return jnp.where(jax.random.bernoulli(key, 1.0 * probability), gray, image)

    return augment


@ranges.checked(area=ranges.FRACTION, probability=ranges.FRACTION, fill=ranges.OneOf(Literal["zero", "noise"]))
def erase(area: Float = 0.1, probability: Float = 0.5, fill: Literal["zero", "noise"] = "zero") -> Augment:
    """Covers a rectangle (Zhong et al. 2020, https://arxiv.org/abs/1708.04896), clipped at the borders.

    Args:
      area: Area of the rectangle, as a fraction of the image's; its ratio of sides is between 1/2 and 2.
      probability: Probability that a rectangle is covered.
      fill: "zero" for black, or "noise", uniform in [0, 1] for each pixel and channel.

    Example:
      >>> erase(area=0.25, probability=1.0)(jax.random.key(0), jnp.ones((8, 8, 1))).min().item()
      0.0
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        height, width, _ = image.shape
        keys = jax.random.split(key, 3)
        ratio = jnp.exp(jax.random.uniform(keys[0], minval=-jnp.log(2.0), maxval=jnp.log(2.0)) / 2)
        side = jnp.sqrt(area * jax.random.bernoulli(keys[1], 1.0 * probability))
        center = jax.random.uniform(keys[2], (2,))
        rows = jnp.abs((jnp.arange(height) + 0.5) / height - center[0]) < side * ratio / 2
        columns = jnp.abs((jnp.arange(width) + 0.5) / width - center[1]) < side / ratio / 2
        new = jax.random.uniform(jax.random.fold_in(key, 3), image.shape) if fill == "noise" else jnp.zeros_like(image)
        return jnp.where((rows[:, None] & columns[None, :])[..., None], new, image)

    return augment
