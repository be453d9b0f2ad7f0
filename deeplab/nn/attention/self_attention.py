"""Self-attention of encoders and decoders, with as many heads of keys and values as of queries.

Vaswani et al. 2017, "Attention is all you need", https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.cache import Index, KVCache
from deeplab.nn.attention.dot_product import attend
from deeplab.nn.layout import rows

Initializer = jax.nn.initializers.Initializer


def split_heads(x: Float[Array, "B T E"], num_heads: int, roles: int) -> Float[Array, "R B H T d"]:
    """Columns, ordered by head and then by role (query, key, value), as one array for each role.

    Raises:
      ValueError: The columns of a role are not a multiple of the heads.

    Example:
      >>> import jax.numpy as jnp
      >>> split_heads(jnp.ones((1, 3, 16)), num_heads=4, roles=2).shape
      (2, 1, 4, 3, 2)
    """
    B, T, E = x.shape
    if E // roles % num_heads:
        raise ValueError(f"width {E // roles} is not a multiple of num_heads {num_heads}")
    return x.reshape(B, T, num_heads, roles, -1).transpose(3, 0, 2, 1, 4)  # B T (H R d) -> R B H T d


def join_heads(x: Float[Array, "B H T d"]) -> Float[Array, "B T D"]:
    """The heads side by side: the inverse of `split_heads` for one role.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.arange(8.0).reshape(1, 2, 4)
      >>> bool((join_heads(split_heads(x, num_heads=2, roles=1)[0]) == x).all())
      True
    """
    B, _, T, _ = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, -1)  # B H T d -> B T (H d)


@ranges.checked(num_heads=ranges.COUNT, dropout=ranges.RATE, block=ranges.COUNT)
class SelfAttention(nn.Module):
    """Attention of a sequence to itself, in H heads of width D / H.

    One product makes queries, keys and values. Its columns are ordered by head, then by role, so that a split of the
    kernel over devices gives each of them whole heads.

    Args:
      num_heads: H, which divides the width of the input.
      dropout: Probability of dropping an attention probability in training; may be a tracer.
      kernel_init: Initializer of the kernel that makes queries, keys and values.
      out_init: Initializer of the kernel that leads back to the residual stream.
      causal: Whether a token attends only to itself and to those before it, as in a decoder.
      block: Number of queries processed at a time for long sequences, without dropout of probabilities; see `attend`.

    Example:
      >>> import jax.numpy as jnp
      >>> layer, padding = SelfAttention(num_heads=2), jnp.array([[True, True, False]])
      >>> jax.jit(layer.init_with_output)(jax.random.key(0), jnp.ones((1, 3, 16)), segment_ids=padding)[0].shape
      (1, 3, 16)
    """

    num_heads: int
    dropout: float = 0.0
    kernel_init: Initializer = nn.linear.default_kernel_init
    out_init: Initializer = nn.linear.default_kernel_init
    causal: bool = False
    block: int | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        train: bool = False,
        segment_ids: Int[Array, "B T"] | Bool[Array, "B T"] | None = None,
        cache: KVCache | None = None,
        cache_index: Index = 0,
    ) -> Any:
        """The outputs [B, T, D] of attention within `x`; with a cache, also to the tokens before it.

        Args:
          x: Sequences.
          train: Whether to drop probabilities.
          segment_ids: Segment of each token, which attends within its own: packed documents, or 0 for padding.
          cache: Keys and values of the tokens before `x`; those of `x` are added, and a pair of the outputs
            and the new cache is returned.
          cache_index: Position of the first token of `x`.
        """
        B, T, D = x.shape
        qkv = nn.Dense(3 * D, kernel_init=self.kernel_init, name="qkv")(rows(x)).reshape(B, T, 3 * D)
        query, key, value = split_heads(qkv, self.num_heads, 3)
        if cache is not None:
            cache = cache.update(key, value, cache_index)
            key, value = cache.key.astype(key.dtype), cache.value.astype(value.dtype)
        out = attend(
            query,
            key,
            value,
            causal=self.causal,
            segment_ids=segment_ids,
            offset=0 if cache is None else cache_index,
            block=self.block if cache is None else None,
            dropout=nn.Dropout(self.dropout, deterministic=not train, name="dropout"),
        )
        y = nn.Dense(D, kernel_init=self.out_init, name="out")(rows(join_heads(out))).reshape(B, T, D)
        return y if cache is None else (y, cache)
