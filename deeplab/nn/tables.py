"""Tables of vectors that divide over devices."""

from __future__ import annotations

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Int

MULTIPLE = 64
"""Rows are padded to a multiple of it, so that a table divides over 2, 4, ... 64 devices by a rule such as
(r"embedding$", PartitionSpec("model", None)); what does not divide stays whole on each of them."""


def padded(size: int) -> int:
    """The next multiple of `MULTIPLE`.

    Example:
      >>> padded(1683), padded(64)
      (1728, 64)
    """
    return -(-size // MULTIPLE) * MULTIPLE


class Embedding(nn.Module):
    """V vectors of width D; the table has `padded(V)` rows, of which the last are never read.

    Args:
      size: V.
      width: D.
      embedding_init: of the vectors.

    Example:
      >>> table = Embedding(size=5, width=3)
      >>> vectors, variables = table.init_with_output(jax.random.key(0), jax.numpy.array([4, 0]))
      >>> vectors.shape, variables["params"]["embedding"].shape
      ((2, 3), (64, 3))
    """

    size: int
    width: int
    embedding_init: jax.nn.initializers.Initializer = nn.initializers.normal(0.05)

    def setup(self) -> None:
        self.embedding = self.param("embedding", self.embedding_init, (padded(self.size), self.width))

    def __call__(self, ids: Int[Array, "*B"]) -> Float[Array, "*B D"]:
        """The vectors of these numbers, each 0 to V - 1."""
        return self.embedding[ids]

    def vectors(self) -> Float[Array, "V D"]:
        """All of them."""
        return self.embedding[: self.size]
