"""Embedding tables."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from deeplab.core import ranges

MULTIPLE = 64
"""`Embedding` pads its number of rows to a multiple of this, so that a rule such as
(r"embedding$", PartitionSpec("model", None)) divides the table over 2, 4, ... 64 devices. An array that a mesh axis
does not divide is replicated."""


def padded_size(size: int) -> int:
    """The next multiple of `MULTIPLE`.

    Example:
      >>> padded_size(1683), padded_size(64)
      (1728, 64)
    """
    return -(-size // MULTIPLE) * MULTIPLE


@ranges.checked(size=ranges.COUNT, width=ranges.COUNT)
class Embedding(nn.Module):
    """V embeddings of dimension D, in a table of `padded_size(V)` rows. The last rows are never read.

    Args:
      size: Number of embeddings V.
      width: Embedding dimension D.
      embedding_init: Initializer of the table.

    Example:
      >>> import jax
      >>> layer = Embedding(size=5, width=3)
      >>> vectors, variables = layer.init_with_output(jax.random.key(0), jnp.array([4, 0]))
      >>> vectors.shape, variables["params"]["embedding"].shape
      ((2, 3), (64, 3))
    """

    size: int
    width: int
    embedding_init: nn.initializers.Initializer = nn.initializers.normal(0.05)

    def setup(self) -> None:
        self.embedding = self.param("embedding", self.embedding_init, (padded_size(self.size), self.width))

    def __call__(self, ids: Int[Array, "*B"]) -> Float[Array, "*B D"]:
        """Embeddings of ids in 0 to V - 1."""
        return self.embedding[ids]

    def vectors(self) -> Float[Array, "V D"]:
        """All embeddings."""
        return self.embedding[: self.size]


@ranges.checked(num_features=ranges.COUNT, width=ranges.COUNT, scale=ranges.POSITIVE)
class BagEmbedding(nn.Module):
    """Mean embedding of a token's features: e_t = sum_f E[x_tf] / n_t over its n_t nonzero features.

    Feature 0 is padding. A token whose first feature is 0 is padding too: its embedding is 0 and its mask False.

    Args:
      num_features: Number of rows of the table E.
      width: Embedding dimension D.
      scale: Standard deviation of the initial table.

    Returns:
      Embeddings, and a mask that is True at tokens.

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
