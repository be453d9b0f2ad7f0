"""The sizes that all decoders have."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.nn.attention.grouped import GroupedQueryAttention
from deeplab.nn.parts.vocabulary import TokenEmbedding
from deeplab.nn.transformer import INIT


@dataclasses.dataclass(frozen=True)
@ranges.checked(
    vocab_size=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    hidden=ranges.COUNT,
    context=ranges.COUNT,
    num_kv_heads=ranges.COUNT,
    head_dim=ranges.COUNT,
    epsilon=ranges.POSITIVE,
    attention_block=ranges.COUNT,
)
class Sizes:
    """What the decoders of all families are made of; their functions take these as keyword arguments.

    Args:
      vocab_size: V.
      num_layers: L.
      num_heads: H, heads of queries.
      width: D, of the residual stream.
      hidden: Units of the feed-forward layers.
      context: Longest sequence, in tokens; any when None.
      num_kv_heads: K, heads of keys and values; H when None.
      head_dim: Width of a head; D / H when None.
      epsilon: Number added to the variance in norms.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.
      attention_block: Number of positions processed at a time for long contexts; see
        `deeplab.nn.attention.dot_product.attend`.
    """

    vocab_size: int
    num_layers: int
    num_heads: int
    width: int
    hidden: int
    context: int | None
    num_kv_heads: int | None = None
    head_dim: int | None = None
    epsilon: float = 1e-5
    remat: str = "none"
    attention_block: int | None = None

    def attention(self, **parts: Any) -> nn.Module:
        """An attention of these sizes and other parts."""
        return GroupedQueryAttention(
            self.num_heads, self.num_kv_heads or self.num_heads, self.dim, kernel_init=INIT, out_init=self.out_init,
            block=self.attention_block, **parts,
        )  # fmt: skip

    def embedding(self, **parts: Any) -> TokenEmbedding:
        """A token embedding of these sizes and other parts."""
        return TokenEmbedding(self.vocab_size, self.width, **parts)

    @property
    def dim(self) -> int:
        """Width of a head."""
        if self.head_dim is None and self.width % self.num_heads:
            raise UserError(f"width {self.width} is not a multiple of num_heads {self.num_heads}; give head_dim")
        return self.head_dim or self.width // self.num_heads

    @property
    def out_init(self) -> nn.initializers.Initializer:
        """N(0, 0.02^2 / (2 L)), for kernels that lead back to the residual stream (Radford et al. 2019)."""
        return normal(0.02 / (2 * self.num_layers) ** 0.5)


@functools.cache
def normal(deviation: float) -> nn.initializers.Initializer:
    """One function for each deviation, so that models of equal sizes are equal, and compiled once."""
    return nn.initializers.normal(deviation)
