"""Prototypes: logits that are cosines between a projection and learned directions."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.activations import gelu


@ranges.checked(num=ranges.COUNT, features=ranges.COUNT, width=ranges.COUNT)
class Prototypes(nn.Module):
    """Hidden layers, a projection z, and the cosines of z and each of K learned directions, [B, F] -> [B, K].

    Args:
      num: Number K of prototypes.
      features: Widths of the hidden layers.
      width: Number of dimensions of z.

    Example:
      >>> logits, _ = Prototypes(10).init_with_output(jax.random.key(0), jnp.ones((2, 8)))
      >>> logits.shape, bool(jnp.abs(logits).max() <= 1)
      ((2, 10), True)

    Source: Caron et al. 2021, https://arxiv.org/abs/2104.14294, section 3.1.
    """

    num: int
    features: Sequence[int] = (256,)
    width: int = 64

    @nn.compact
    def __call__(self, x: Float[Array, "B F"], train: bool = False) -> Float[Array, "B K"]:
        for number, size in enumerate(self.features, start=1):
            x = gelu(nn.Dense(size, name=f"hidden{number}")(x))
        z = nn.Dense(self.width, name="projection")(x)
        directions = self.param("directions", nn.initializers.normal(1.0), (self.width, self.num))
        return _unit(z, -1) @ _unit(directions, 0)


def _unit(x: Float[Array, "N M"], axis: int) -> Float[Array, "N M"]:
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=axis, keepdims=True), 1e-24))
