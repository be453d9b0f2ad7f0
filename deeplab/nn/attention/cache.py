"""The keys and values of the tokens that a decoder has read.

A cache is a pytree whose leaves all have the batch axis first, so that beam search reorders any cache by one gather:
a tuple of `KVCache` by layer, one `KVCache` [B, L, ...] of stacked layers, or a recurrent state. The number of tokens
read so far is the same for all layers, so it is not stored in each: it travels beside the cache as `cache_index`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Index = int | Int[Array, ""] | Int[Array, " B"]
"""Position of the first new token: one for the batch, or one for each example where prompts differ in length."""


class Memory(NamedTuple):
    """What the layers of a decoder read of an encoder.

    Attributes:
      states: States of the encoder; None where each layer has its keys and values of them beside its cache.
      mask: True where a token may attend to a state; to all of them when None.

    Example:
      >>> from deeplab.nn.attention.masking import same_segment_mask
      >>> target, source = jnp.array([[1, 1, 2]]), jnp.array([[1, 2, 2, 0]])
      >>> Memory(jnp.ones((1, 4, 8)), same_segment_mask(target, source)).mask.shape
      (1, 1, 3, 4)
    """

    states: Float[Array, "B S D"] | None
    mask: Bool[Array, "B 1 #T S"] | None


class Reading(NamedTuple):
    """Where the tokens of a call stand.

    Attributes:
      positions: Position of each token in its sequence, for the batch or for each example; of the patches of an image,
        their centers.
      cache_index: Position of the first token in the cache, if there is one.
      segment_ids: Segment of each token where several sequences share a row, 0 for padding; None with a cache.
      bias: What is added to the scores of all layers, if anything; see `deeplab.nn.attention.scores.Scores`.
      memory: What an encoder has read, for the layers that attend to it, if any.

    Example:
      >>> from deeplab.nn.attention.masking import segment_positions
      >>> packed = jnp.array([[1, 1, 2, 2, 2, 0]])
      >>> Reading(segment_positions(packed), segment_ids=packed).positions.tolist()
      [[0, 1, 0, 1, 2, 0]]
    """

    positions: Int[Array, " T"] | Int[Array, "B T"] | Float[Array, "T 2"]
    cache_index: Index = 0
    segment_ids: Int[Array, "B T"] | None = None
    bias: Float[Array, "#B H T S"] | None = None
    memory: Memory | None = None


class KVCache(NamedTuple):
    """Keys and values of one attention layer, K heads of S positions each.

    Heads come before time, as in `deeplab.nn.attention.dot_product.attend`. K may be smaller than the number of query
    heads (grouped-query attention). A sliding window is a mask over the same cache.

    Attributes:
      key: Keys, zeros where nothing has been read.
      value: Values, likewise.

    Example:
      >>> cache = KVCache.empty(batch_size=2, num_heads=4, length=16, head_dim=8)
      >>> new = jnp.ones((2, 4, 3, 8))
      >>> cache.update(new, new, cache_index=5).key[0, 0, :, 0].tolist()
      [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    key: Float[Array, "*B K S d"]
    value: Float[Array, "*B K S d"]

    @classmethod
    def empty(
        cls, batch_size: int, num_heads: int, length: int, head_dim: int, *, dtype: Any = jnp.float32, layers: Any = ()
    ) -> Self:
        """A cache that holds no token yet.

        Args:
          batch_size: B.
          num_heads: K, heads of keys and values.
          length: S, the largest number of tokens it can hold.
          head_dim: Width d of a head.
          dtype: Dtype of keys and values.
          layers: `(L,)` for the caches of L stacked layers in one: [B, L, K, S, d].
        """
        zeros = jnp.zeros((batch_size, *layers, num_heads, length, head_dim), dtype)
        return cls(zeros, zeros)

    def update(self, key: Float[Array, "B K T d"], value: Float[Array, "B K T d"], cache_index: Index) -> Self:
        """The cache with T new keys and values from position `cache_index` on."""
        return type(self)(write(self.key, key, cache_index), write(self.value, value, cache_index))


def write(buffer: Float[Array, "B K S d"], new: Float[Array, "B K T d"], index: Index) -> Float[Array, "B K S d"]:
    """`buffer` with `new` at the positions from `index` on, in the buffer's dtype.

    One index for the batch is one contiguous update; an index for each example is a scatter.

    Example:
      >>> buffer, new = jnp.zeros((2, 1, 4, 1)), jnp.ones((2, 1, 2, 1))
      >>> write(buffer, new, jnp.array([0, 2]))[:, 0, :, 0].tolist()
      [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    new = new.astype(buffer.dtype)
    if jnp.ndim(index) == 0:
        return jax.lax.dynamic_update_slice_in_dim(buffer, new, index, axis=2)
    return jax.vmap(lambda old, part, at: jax.lax.dynamic_update_slice_in_dim(old, part, at, axis=1))(
        buffer, new, jnp.asarray(index)
    )


def read_positions(cache_index: Index, num_tokens: int) -> Int[Array, " T"] | Int[Array, "B T"]:
    """The positions of `num_tokens` tokens from `cache_index` on.

    Example:
      >>> read_positions(3, 2).tolist(), read_positions(jnp.array([0, 5]), 2).tolist()
      ([3, 4], [[0, 1], [5, 6]])
    """
    return jnp.add.outer(jnp.asarray(cache_index), jnp.arange(num_tokens))
