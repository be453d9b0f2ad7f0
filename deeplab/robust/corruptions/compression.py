"""JPEG as a function of arrays: the quantized cosine transform, with the colors at half the size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.robust.corruptions.filters import Corruption, Image, clipped

# ITU-T T.81 (https://www.w3.org/Graphics/JPEG/itu-t81.pdf), tables K.1 and K.2.
_LIGHT = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_COLOR = np.full((8, 8), 99)
_COLOR[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)
_BASIS = np.sqrt(2) * np.cos(np.arange(8)[:, None] * (2 * np.arange(8)[None] + 1) * np.pi / 16)
_BASIS[0] = 1.0
_BASIS = _BASIS.astype(np.float32)
"""Cosines of length sqrt(8), as the library's integers have them, which are rounded after each axis."""


@ranges.checked(quality=ranges.Range(at_least=1, at_most=100, whole=True))
def jpeg(quality: int) -> Corruption:
    """What is left of an image in a JPEG file, to the rounding of the usual library's integers.

    Images of three channels have their colors at half the size (4:2:0), enlarged linearly; all others are light alone.

    Args:
      quality: Quality of the file, 1 to 100.

    Example:
      >>> jpeg(80)(jax.random.key(0), jnp.zeros((16, 16, 3))).max().round(2).item()
      0.0
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    light, color = (np.clip((table * percent + 50) // 100, 1, 255).astype(np.float32) for table in (_LIGHT, _COLOR))

    def corrupt(key: jax.Array, image: Image) -> Image:
        pixels = jnp.round(clipped(image) * 255)
        if image.shape[-1] != 3:
            return jax.vmap(lambda plane: _restored(plane, light), -1, -1)(pixels) / 255
        changed = jnp.einsum("hwc,kc->hwk", pixels, _YCC, precision="highest")
        y, *colors = jnp.moveaxis(jnp.round(changed), -1, 0)
        blue, red = (
            _enlarged(_restored(_halved(c + 128), color))[: image.shape[0], : image.shape[1]] - 128 for c in colors
        )
        y = _restored(y, light)
        rgb = y + 1.402 * red, y - 0.344136286 * blue - 0.714136286 * red, y + 1.772 * blue
        return clipped(jnp.round(jnp.stack(rgb, axis=-1)) / 255)

    return corrupt


def _restored(plane: jax.Array, table: np.ndarray) -> jax.Array:
    """A plane [H, W] of 0 to 255 after its blocks of 8 x 8 have been transformed, quantized and transformed back."""
    H, W = plane.shape
    padded = jnp.pad(plane, ((0, -H % 8), (0, -W % 8)), mode="edge") - 128
    blocks = padded.reshape(-(-H // 8), 8, -(-W // 8), 8)
    table = table[None, None]
    rows = _whole(4 * jnp.einsum("aibj,vj->aibv", blocks, _BASIS, precision="highest")) / 4
    found = _whole(jnp.einsum("ui,aibv->abuv", _BASIS, rows, precision="highest"))  # eight times the coefficients
    kept = jnp.sign(found) * jnp.floor((jnp.abs(found) + 4 * table) / (8 * table)) * table
    columns = _whole(4 * jnp.einsum("ui,abuv->aibv", _BASIS, kept, precision="highest")) / 4
    back = _whole(jnp.einsum("aibv,vj->aibj", columns, _BASIS, precision="highest") / 8)
    return jnp.clip(back.reshape(padded.shape)[:H, :W] + 128, 0, 255)


def _whole(x: jax.Array) -> jax.Array:
    return jnp.floor(x + 0.5)


def _halved(plane: jax.Array) -> jax.Array:
    """Means of 2 x 2 pixels, rounded down and up in turn, as the usual library does."""
    H, W = plane.shape
    padded = jnp.pad(plane, ((0, H % 2), (0, W % 2)), mode="edge")
    sums = padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
    return jnp.floor((sums + 1 + jnp.arange(sums.shape[1])[None] % 2) / 4)


def _enlarged(plane: jax.Array) -> jax.Array:
    """Twice the size: three quarters of the nearest pixel and a quarter of the next, along each axis."""
    padded = jnp.pad(plane, 1, mode="edge")
    tall = jnp.stack([3 * padded[1:-1] + padded[:-2], 3 * padded[1:-1] + padded[2:]], axis=1)
    tall = tall.reshape(-1, padded.shape[1])  # [2 H, W + 2], four times the values
    wide = jnp.stack([3 * tall[:, 1:-1] + tall[:, :-2] + 8, 3 * tall[:, 1:-1] + tall[:, 2:] + 7], axis=2)
    return jnp.floor(wide.reshape(len(tall), -1) / 16)
