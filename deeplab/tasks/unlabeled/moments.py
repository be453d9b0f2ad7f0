"""Losses of embeddings by the moments of a batch: scalars, which no example has for itself.

The mean and the variance are weighted: examples of weight 0 have no part in them. They are those of all examples of the
batch, whatever devices hold them; where a step is accumulated over microbatches, those of a microbatch, and noisier.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.tasks.unlabeled.objectives import Number, several


def barlow_twins(
    a: Float[Array, "B D"], b: Float[Array, "B D"], weight: Float[Array, " B"], strength: Number = 5e-3
) -> Float[Array, ""]:
    """Distance of the cross-correlation C of the two views from the identity, over the batch.

    sum_i (1 - C_ii)^2 + strength sum over i != j of C_ij^2.

    Source: Zbontar et al. 2021, https://arxiv.org/abs/2103.03230, equation 1.

    Example:
      >>> z = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
      >>> twice = z[:, [0, 0]]  # two dimensions that say the same: C_12 = C_21 = 1
      >>> [round(float(jax.jit(barlow_twins)(x, x, jnp.ones(4))), 4) for x in (z, twice)]
      [0.0, 0.01]
    """
    several(a)
    share = weight / jnp.maximum(jnp.sum(weight), 1e-6)
    left, right = (_centered(z, share) for z in (a, b))
    left, right = (z * jax.lax.rsqrt(share @ jnp.square(z) + 1e-5)[None] for z in (left, right))
    correlation = (left * share[:, None]).T @ right
    diagonal = jnp.diagonal(correlation)
    off = jnp.sum(jnp.square(correlation)) - jnp.sum(jnp.square(diagonal))
    return jnp.sum(jnp.square(1 - diagonal)) + strength * off


def vicreg(
    a: Float[Array, "B D"],
    b: Float[Array, "B D"],
    weight: Float[Array, " B"],
    invariance: Number = 25.0,
    variance: Number = 25.0,
    covariance: Number = 1.0,
) -> Float[Array, ""]:
    """Views alike (invariance), standard deviations of 1 or more (variance), dimensions uncorrelated (covariance).

    Source: Bardes et al. 2021, https://arxiv.org/abs/2105.04906, equations 1 to 6.

    Example:
      >>> z = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
      >>> collapsed = jnp.zeros((4, 2))  # standard deviations of sqrt(1e-4): 25 (1 - 0.01)
      >>> [round(float(jax.jit(vicreg)(x, x, jnp.ones(4))), 4) for x in (z, collapsed)]
      [0.0, 24.75]
    """
    several(a)
    total = jnp.maximum(jnp.sum(weight), 1e-6)
    share = weight / total
    unbiased = 1 / jnp.maximum(1 - jnp.sum(jnp.square(share)), 1e-6)  # N / (N - 1) for N examples of weight 1
    alike, spread, mixed = share @ jnp.mean(jnp.square(a - b), axis=-1), 0.0, 0.0
    for z in (_centered(a, share), _centered(b, share)):
        moments = (z * share[:, None]).T @ z * unbiased  # [D, D]
        own = jnp.diagonal(moments)
        spread += jnp.mean(jax.nn.relu(1 - jnp.sqrt(own + 1e-4))) / 2
        mixed += (jnp.sum(jnp.square(moments)) - jnp.sum(jnp.square(own))) / len(own)
    return invariance * alike + variance * spread + covariance * mixed


def _centered(z: Float[Array, "B D"], share: Float[Array, " B"]) -> Float[Array, "B D"]:
    return z - (share @ z)[None]
