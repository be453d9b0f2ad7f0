"""Weather: snow, frost, fog, brightness and spatter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.data.augment.randaugment import equalize
from deeplab.robust.corruptions.filters import (
    Corruption,
    Image,
    along,
    clipped,
    correlate,
    filtering,
    gray,
    motion,
    plasma,
    smooth,
    zooming,
)

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)
_ICE = (0.46, 0.52, 0.58)  # mean color of frost on a window
_FAR = 20  # pixels beyond which a drop is as high as it gets


@ranges.checked(zoom=ranges.POSITIVE, radius=ranges.COUNT, sigma=ranges.POSITIVE, kept=ranges.FRACTION)
def snow(
    mean: float, std: float, zoom: float, least: float, radius: int, sigma: float, kept: float
) -> Corruption:  # fmt: skip
    """A whitened image beneath flakes that fall, and beneath the same flakes turned upside down.

    Args:
      mean: Mean of the normal numbers of which those above `least` are flakes.
      std: Their standard deviation.
      zoom: Factor by which flakes are enlarged.
      least: Least brightness of a flake.
      radius: Half of the number of shifts of a flake's motion.
      sigma: Standard deviation of the weights of the shifts, in pixels.
      kept: Share of the image that is not whitened.

    Example:
      >>> flakes = snow(0.1, 0.3, zoom=3.0, least=0.5, radius=3, sigma=2.0, kept=0.8)
      >>> flakes(jax.random.key(0), jnp.ones((16, 16, 3))).shape
      (16, 16, 3)
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        flakes_key, angle_key = jax.random.split(key)
        H, W, _ = image.shape
        flakes = along(mean + std * jax.random.normal(flakes_key, (H, W, 1)), zooming(H, zoom), zooming(W, zoom))
        flakes = clipped(jnp.where(flakes < least, 0.0, flakes))
        flakes = motion(flakes, jax.random.uniform(angle_key, minval=-135.0, maxval=-45.0), radius, sigma)
        whitened = kept * image + (1 - kept) * jnp.maximum(image, gray(image) * 1.5 + 0.5)
        return clipped(whitened + flakes + flakes[::-1, ::-1])

    return corrupt


@ranges.checked(kept=ranges.NATURAL, ice=ranges.NATURAL)
def frost(kept: float, ice: float) -> Corruption:
    """kept x + ice times crystals, which are procedural: the published sets add crops of six photographs.

    Crystals are the ridges of clouds, 1 - |2 c - 1|, at two scales. Their mean color and spread are about those of the
    photographs, and their shapes are not; a figure under this frost is comparable with others of deeplab only.

    Args:
      kept: Factor of the image.
      ice: Factor of the crystals.

    Example:
      >>> frost(kept=0.8, ice=0.4)(jax.random.key(0), jnp.ones((16, 16, 3))).shape
      (16, 16, 3)
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        H, W, C = image.shape
        coarse, fine = (
            1 - jnp.abs(2 * plasma(k, H, W, decay) - 1)
            for k, decay in zip(jax.random.split(key), (2.2, 1.5), strict=True)
        )
        crystals = (coarse * fine) ** 1.5
        tone = jnp.asarray(_ICE if C == 3 else [sum(_ICE) / 3] * C)
        shine = clipped(tone[None, None] + 0.6 * (crystals - jnp.mean(crystals))[..., None])
        return clipped(kept * image + ice * shine)

    return corrupt


@ranges.checked(depth=ranges.NATURAL, decay=ranges.POSITIVE)
def fog(depth: float, decay: float) -> Corruption:
    """(x + depth c) m / (m + depth), with a cloud c in [0, 1] and the image's largest value m.

    Args:
      depth: Strength of the fog.
      decay: Divisor of the cloud's roughness from one scale to the next finer one.

    Example:
      >>> fog(depth=0.5, decay=2.0)(jax.random.key(0), jnp.ones((16, 16, 3))).shape
      (16, 16, 3)
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        most = jnp.max(image)
        return clipped(
            (image + depth * plasma(key, image.shape[0], image.shape[1], decay)[..., None]) * most / (most + depth)
        )

    return corrupt


@ranges.checked(by=ranges.FRACTION)
def brightness(by: float) -> Corruption:
    """Raises the value of each pixel's hue, saturation and value (its largest channel) by `by`.

    Example:
      >>> round(brightness(0.1)(jax.random.key(0), jnp.full((8, 8, 3), 0.5)).max().item(), 2)
      0.6
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        value = jnp.max(image, axis=-1, keepdims=True)
        raised = jnp.minimum(value + by, 1.0)
        return clipped(jnp.where(value > 0, image * raised / jnp.where(value > 0, value, 1), raised))

    return corrupt


@ranges.checked(std=ranges.NATURAL, sigma=ranges.POSITIVE, strength=ranges.POSITIVE)
def spatter(mean: float, std: float, sigma: float, least: float, strength: float, mud: bool) -> Corruption:
    """Drops of water or of mud on the lens, where a smoothed noise is above `least`.

    Drops of water are bright where they are high: from 0 at their border, found as where they begin, to 20 pixels from
    there. The published sets find it by the Canny filter.

    Args:
      mean: Mean of the noise.
      std: Standard deviation of the noise.
      sigma: Standard deviation of its filter, in pixels.
      least: Least value of the noise within a drop.
      strength: Brightness of water, or the standard deviation of the border of mud, in pixels.
      mud: Whether it is mud.

    Example:
      >>> drops = spatter(0.6, 0.3, sigma=1.0, least=0.6, strength=0.6, mud=False)
      >>> drops(jax.random.key(0), jnp.ones((16, 16, 3))).shape
      (16, 16, 3)
    """

    def corrupt(key: jax.Array, image: Image) -> Image:
        liquid = smooth(mean + std * jax.random.normal(key, (*image.shape[:2], 1)), sigma)
        color = jnp.asarray(_MUD if mud else _WATER)[None, None]
        color = color if image.shape[-1] == 3 else gray(color)
        if mud:
            drop = smooth((liquid > least).astype(jnp.float32), strength)
            drop = jnp.where(drop < 0.8, 0.0, drop)
            return clipped(image * (1 - drop) + color * drop)
        liquid = jnp.where(liquid < least, 0.0, liquid)
        light = liquid * _height(liquid > 0)
        return clipped(image + strength * color * light / jnp.maximum(jnp.max(light), 1e-6))

    return corrupt


def _height(drop: jax.Array) -> jax.Array:
    """Shaded height over the borders of drops, [H, W, 1]."""
    H, W, _ = drop.shape
    inner = jnp.pad(drop[..., 0], 1, mode="edge")
    border = drop[..., 0] & ~(inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:])
    apart = jnp.where(border, 0.0, float(_FAR))
    for axis, size in enumerate((H, W)):
        steps = np.abs(np.arange(size)[:, None] - np.arange(size)[None])
        near = [np.argsort(steps[i], kind="stable")[: 2 * _FAR + 1] for i in range(size)]
        index, length = np.stack(near), np.stack([steps[i][near[i]] for i in range(size)]).astype(np.float32)
        around = jnp.take(apart, index, axis=axis)  # the axis in two: its places, and those near each
        squares = around**2 + (length[:, :, None] if axis == 0 else length[None]) ** 2
        apart = jnp.minimum(jnp.sqrt(jnp.min(squares, axis=axis + 1)), float(_FAR))
    box = np.full(3, 1 / 3)
    rows, columns = filtering(H, box, "reflect"), filtering(W, box, "reflect")
    even = equalize(jnp.floor(along(apart[..., None], rows, columns)) / 255)
    shaded = clipped(correlate(even, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])))
    return along(shaded, rows, columns)
