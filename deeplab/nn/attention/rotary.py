"""Rotary position embeddings.

Su et al. 2021, "RoFormer", https://arxiv.org/abs/2104.09864.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.core.precision import widened
from deeplab.nn.attention.rotary_scaling import Length, Scaling


def rotary_angles(
    positions: Int[Array, "*B T"],
    head_dim: int,
    base: float = 10_000.0,
    scaling: Scaling | None = None,
    length: Length | None = None,
) -> Float[Array, "2 *B T d/2"]:
    """cos and sin of the angles t base^(-2 i / d), i < d / 2, by which `rotate` turns a head at position t.

    Args:
      positions: Positions of the tokens, for the batch or for each example.
      head_dim: Width d of a head.
      base: Base of the wavelengths, which reach 2 pi base.
      scaling: Change of the wavelengths for contexts longer than those of the first training.
      length: Number of positions that count for it; that of the positions when None.

    Example:
      >>> rotary_angles(jnp.arange(3), head_dim=8).shape
      (2, 3, 4)
    """
    rates = base ** (-jnp.arange(0, head_dim, 2) / head_dim)
    if scaling is not None:
        rates = scaling.rates(rates, base, jnp.max(positions) + 1 if length is None else length)
    angles = positions[..., None] * rates.reshape(*[1] * positions.ndim, -1)  # [*B, T, d / 2]
    turns = jnp.stack([jnp.cos(angles), jnp.sin(angles)])
    return turns if scaling is None or scaling.amplitude == 1 else turns * scaling.amplitude


def rotate(x: Float[Array, "B H T d"], angles: Float[Array, "2 *B T d/2"]) -> Float[Array, "B H T d"]:
    """Rotates each pair (x_i, x_(i + d/2)) by its angle, in float32, so that products depend on distances alone.

    <rotate(q, s), rotate(k, t)> is a function of q, k and s - t. Su et al. pair neighbors, (x_2i, x_2i+1): the same up
    to the order of a kernel's columns.

    Example:
      >>> x = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
      >>> [round(float(y), 2) for y in rotate(x, rotary_angles(jnp.array([1]), 2)).ravel()]  # by one radian
      [0.54, 0.84]

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2.
    """
    cos, sin = angles[:, None, None] if angles.ndim == 3 else angles[:, :, None]  # [1 | B, 1, T, d / 2] each
    first, second = jnp.split(widened(x), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def rotate_neighbors(x: Float[Array, "B H T d"], angles: Float[Array, "2 *B T d/2"]) -> Float[Array, "B H T d"]:
    """Rotates the pairs (x_2i, x_(2i + 1)), as Su et al. do; the result has the order of `rotate`.

    So queries and keys must both be of this function; their products are then as they would be in the order of `x`.

    Example:
      >>> x = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
      >>> [round(float(y), 2) for y in rotate_neighbors(x, rotary_angles(jnp.array([1]), 2)).ravel()]
      [0.54, 0.84]
    """
    return rotate(jnp.concatenate([x[..., ::2], x[..., 1::2]], axis=-1), angles)


@dataclasses.dataclass(frozen=True)
class GridRotary:
    """Turns queries and keys by the centers of their patches, half of the pairs by each axis.

    Args:
      base: Base of the wavelengths, of which the shortest is the size of the image.

    Example:
      >>> GridRotary()(jnp.ones((1, 2, 4, 8)), jnp.zeros((4, 2))).shape
      (1, 2, 4, 8)

    Source: Simeoni et al. 2025, "DINOv3", https://arxiv.org/abs/2508.10104; the form is that of their code.
    """

    base: float = 100.0

    def __call__(
        self, x: Float[Array, "B H T d"], positions: Float[Array, "T 2"], length: None = None
    ) -> Float[Array, "B H T d"]:
        del length
        quarter = x.shape[-1] // 4
        rates = self.base ** (-jnp.arange(quarter) / quarter)
        angles = (2 * jnp.pi * positions[..., None] * rates[None, None]).reshape(len(positions), -1)  # T 2 r -> T (2 r)
        return rotate(x, jnp.stack([jnp.cos(angles), jnp.sin(angles)]))


@dataclasses.dataclass(frozen=True)
@ranges.checked(width=ranges.COUNT)
class Rotary:
    """Turns the first `width` components of queries and keys by their positions.

    Args:
      width: Number of components of a head that turn; the others stay as they are.
      base: Base of the wavelengths.
      scaling: Change of the wavelengths for longer contexts.
      turn: Which components are a pair: `rotate` or `rotate_neighbors`.

    Example:
      >>> Rotary(width=4)(jnp.ones((1, 2, 3, 8)), jnp.arange(3)).shape
      (1, 2, 3, 8)
    """

    width: int
    base: float = 10_000.0
    scaling: Scaling | None = None
    turn: Callable[[jax.Array, jax.Array], jax.Array] = rotate

    def __call__(
        self, x: Float[Array, "B H T d"], positions: Int[Array, "*B T"], length: int | None = None
    ) -> Float[Array, "B H T d"]:
        angles = rotary_angles(positions, self.width, self.base, self.scaling, length)
        if self.width == x.shape[-1]:
            return self.turn(x, angles)
        turned = self.turn(x[..., : self.width], angles)
        return jnp.concatenate([turned, x[..., self.width :]], axis=-1)
