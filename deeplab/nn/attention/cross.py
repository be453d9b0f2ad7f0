"""Attention of a sequence to another one, whose keys and values are computed once.

Vaswani et al. 2017, "Attention is all you need", https://arxiv.org/abs/1706.03762, section 3.2.3.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from deeplab.core import ranges
from deeplab.nn.attention.cache import KVCache
from deeplab.nn.attention.dot_product import attend, attention_weights
from deeplab.nn.attention.self_attention import Initializer, join_heads, split_heads


@ranges.checked(width=ranges.COUNT, num_heads=ranges.COUNT, head_dim=ranges.COUNT, dropout=ranges.RATE)
class CrossAttention(nn.Module):
    """What the states of a decoder read of a memory.

    Args:
      width: D, of the decoder's stream.
      num_heads: H.
      head_dim: Width d of a head; D / H when None.
      use_bias: Whether queries, keys and values have biases.
      key_bias: Whether keys have one, where that differs.
      out_bias: Whether the output has a bias.
      scale: Factor of the products of queries and keys; 1 / sqrt(d) when None.
      dropout: Probability of dropping an attention probability in training; may be a tracer.
      kernel_init: Initializer of the kernels that make queries, keys and values.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> layer, states = CrossAttention(width=8, num_heads=2), jnp.ones((1, 5, 6))
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 3, 8)), states)[0].shape
      (1, 3, 8)
    """

    width: int
    num_heads: int
    head_dim: int | None = None
    use_bias: bool = False
    key_bias: bool | None = None
    out_bias: bool = False
    scale: float | None = None
    dropout: float = 0.0
    kernel_init: Initializer = nn.linear.default_kernel_init
    out_init: Initializer = nn.linear.default_kernel_init

    def setup(self) -> None:
        inner = self.num_heads * (self.head_dim or self.width // self.num_heads)
        key_bias = self.use_bias if self.key_bias is None else self.key_bias
        self.query = nn.Dense(inner, use_bias=self.use_bias, kernel_init=self.kernel_init)
        self.key = nn.Dense(inner, use_bias=key_bias, kernel_init=self.kernel_init)
        self.value = nn.Dense(inner, use_bias=self.use_bias, kernel_init=self.kernel_init)
        self.out = nn.Dense(self.width, use_bias=self.out_bias, kernel_init=self.out_init)
        self.drop = nn.Dropout(self.dropout, deterministic=False)

    def read(self, states: Float[Array, "B S E"]) -> KVCache:
        """The keys and values of a memory."""
        return KVCache(self._heads(self.key(states)), self._heads(self.value(states)))

    def __call__(
        self, x: Float[Array, "B T D"], memory: Float[Array, "B S E"] | KVCache,
        mask: Bool[Array, "B 1 #T S"] | None = None, train: bool = False,
    ) -> Float[Array, "B T D"]:  # fmt: skip
        """The outputs.

        Args:
          x: Stream of the decoder.
          memory: States of the encoder, or what `read` made of them.
          mask: True where a token may attend to a state; to all of them when None.
          train: Whether to drop probabilities.
        """
        memory = memory if isinstance(memory, KVCache) else self.read(memory)
        query = self._queries(x)
        key, value = (x.astype(query.dtype) for x in memory)
        return self.out(join_heads(attend(query, key, value, mask, dropout=self.drop if train else None)))

    def weights(
        self, x: Float[Array, "B T D"], states: Float[Array, "B S E"], mask: Bool[Array, "B 1 #T S"] | None = None
    ) -> Float[Array, "B T S"]:
        """The weights of the states, averaged over the heads."""
        return jnp.mean(attention_weights(self._queries(x), self.read(states).key, mask), axis=1)

    def _queries(self, x: jax.Array) -> Float[Array, "B H T d"]:
        query = self._heads(self.query(x))
        # The product with the keys divides by sqrt(d).
        return query if self.scale is None else query * (self.scale * query.shape[-1] ** 0.5)

    def _heads(self, x: jax.Array) -> Float[Array, "B H T d"]:
        return split_heads(x, self.num_heads, 1)[0]
