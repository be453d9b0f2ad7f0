"""Tokens that are bags of features, as vectors."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer


class BagEmbedding(nn.Module):
    """The mean of the vectors of a token's features: e_t = sum_f E[x_tf] / n_t over the n_t features that are not 0.

    Feature 0 pads. A token whose first feature is 0 is no token: its vector is 0, and the mask says so.

    Args:
      num_features: rows of the table E.
      width: D.
      scale: standard deviation of the table at the start.

    Returns:
      The vectors, and True where there is a token.

    Example:
      >>> import jax
      >>> tokens = jnp.array([[[3, 1, 4], [2, 0, 0], [0, 0, 0]]])
      >>> (vectors, mask), _ = BagEmbedding(num_features=5, width=8).init_with_output(jax.random.key(0), tokens)
      >>> vectors.shape, mask.tolist()
      ((1, 3, 8), [[True, True, False]])

    Source: Bojanowski et al. 2017, https://arxiv.org/abs/1607.04606, section 3.2 (there a sum).
    """

    num_features: int
    width: int
    scale: float = 0.05

    @nn.compact
    def __call__(self, tokens: Integer[Array, "B T F"]) -> tuple[Float[Array, "B T D"], Bool[Array, "B T"]]:
        init = nn.initializers.normal(self.scale)
        table = self.param("embedding", init, (self.num_features, self.width), jnp.float32)
        mask = tokens[..., 0] > 0
        present = (tokens > 0) & mask[..., None]
        count = jnp.maximum(jnp.sum(present, axis=-1), 1)  # [B, T]
        vectors = jnp.sum(jnp.where(present[..., None], table[tokens], 0), axis=2)  # [B, T, F, D] -> [B, T, D]
        return vectors / count[..., None].astype(vectors.dtype), mask
