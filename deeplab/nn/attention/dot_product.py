"""Scaled dot-product attention, and the self-attention of encoders and decoders.

Vaswani et al. 2017, "Attention is all you need", https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.nn.attention.masking import together
from deeplab.nn.layout import check_block, for_each_part, parts_of_time, rows, split_queries

Initializer = jax.nn.initializers.Initializer
See = Callable[[Int[Array, " C"]], Bool[Array, "C S"] | Bool[Array, "#B #H C S"]]
"""What the queries of these places may see: the rows of a mask."""


def attend(
    query: Float[Array, "B H T D"],
    key: Float[Array, "B H S D"],
    value: Float[Array, "B H S D"],
    mask: Bool[Array, "T S"] | Bool[Array, "#B #H #T S"] | None = None,
    dropout: nn.Module | None = None,
) -> Float[Array, "B H T D"]:
    """softmax(q k^T / sqrt(D)) v, the softmax in float32 whatever the inputs are.

    Heads come before time, so that both products are plain batches of matrices: on a CPU, 2 to 3 times faster than
    the layout [B, T, H, D] (12 x 4 heads of 64 x 32: 0.13 and 0.15 ms instead of 0.30 and 0.40).

    Args:
      query: what asks, at T places.
      key: what is compared, at S places.
      value: what is returned.
      mask: True where place t may see place s, for all examples, or with axes of examples and heads; all of them when
        None. A row that sees no place gets the mean of all values.
      dropout: applied to the probabilities, [B, H, T, S].

    Example:
      >>> q = k = v = jnp.ones((1, 2, 3, 4))
      >>> attend(q, k, v, causal_mask(3, 3)).shape
      (1, 2, 3, 4)
    """
    return _attended(*split_queries(query, key, value), mask, dropout)


def _attended(query: jax.Array, key: jax.Array, value: jax.Array, mask: Any, dropout: Any = None) -> jax.Array:
    probabilities = attention_weights(query, key, mask).astype(value.dtype)
    if dropout is not None:
        probabilities = dropout(probabilities)
    return jnp.einsum("bhts,bhsd->bhtd", probabilities, value)


def attention_weights(
    query: Float[Array, "B H T D"],
    key: Float[Array, "B H S D"],
    mask: Bool[Array, "T S"] | Bool[Array, "#B #H #T S"] | None = None,
) -> Float[Array, "B H T S"]:
    """softmax(q k^T / sqrt(D)), of which `attend` makes its means; float32."""
    scores = jnp.einsum("bhtd,bhsd->bhts", query * query.shape[-1] ** -0.5, key).astype(jnp.float32)
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 4 else mask[None, None], scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)


def attend_in_blocks(
    query: Float[Array, "B H T D"],
    key: Float[Array, "B H S D"],
    value: Float[Array, "B H S D"],
    see: See,
    block: int,
) -> Float[Array, "B H T D"]:
    """`attend`, for some queries at a time: memory grows with C S instead of T S, also in the backward pass.

    That computes the probabilities of a block again. Where a mesh splits time, each device works through its own part.

    Args:
      query: what asks, at T places.
      key: what is compared, at S places.
      value: what is returned.
      see: which places those of a block may see.
      block: C, queries at a time; divides T, or a device's part of it (else: ValueError).

    Example:
      >>> q = k = v = jnp.ones((1, 2, 8, 4))
      >>> attend_in_blocks(q, k, v, lambda places: jnp.arange(8)[None] <= places[:, None], block=2).shape
      (1, 2, 8, 4)

    Source: Rabe and Staats 2021, https://arxiv.org/abs/2112.05682; of their two loops the outer one.
    """
    B, H, T, D = query.shape
    check_block(T, block)
    parts = parts_of_time(T)
    blocks = query.reshape(B, H, parts, -1, block, D).transpose(3, 2, 0, 1, 4, 5)  # B H (n c C) D -> c n B H C D
    places = jnp.arange(T).reshape(parts, -1, block).swapaxes(0, 1)  # (n c C) -> c n C
    # A copy for each device, which gathers it once and sums up its own gradient, before those of all are added up.
    keys, values = for_each_part(key, parts), for_each_part(value, parts)  # n B H S D

    @jax.checkpoint
    def one(given: tuple[jax.Array, jax.Array]) -> jax.Array:
        queries, places = given
        return jax.vmap(lambda q, k, v, at: _attended(q, k, v, see(at)))(queries, keys, values, places)

    out = jax.lax.map(one, (blocks, places))
    return out.transpose(2, 3, 1, 0, 4, 5).reshape(B, H, T, D)


def causal_mask(num_queries: int, num_keys: int, start: int | jax.Array = 0) -> Bool[Array, "T S"]:
    """True where query t, at place start + t, may see key s: s <= start + t.

    Example:
      >>> causal_mask(2, 3, start=1).astype(int).tolist()
      [[1, 1, 0], [1, 1, 1]]
    """
    return jnp.arange(num_keys)[None, :] <= start + jnp.arange(num_queries)[:, None]


class SelfAttention(nn.Module):
    """Each place attends to all places that the mask shows, in H heads of width D / H.

    Args:
      num_heads: H; divides the width of the input.
      dropout: probability that an attention probability is dropped in training; may be a tracer.
      kernel_init: of the kernel that makes queries, keys and values.
      out_init: of the kernel that leads back to the residual stream.

    Example:
      >>> layer, mask = SelfAttention(num_heads=2), jnp.array([[True, True, False]])
      >>> jax.jit(layer.init_with_output)(jax.random.key(0), jnp.ones((1, 3, 16)), mask=mask)[0].shape
      (1, 3, 16)
    """

    num_heads: int
    dropout: float = 0.0
    kernel_init: Initializer = nn.linear.default_kernel_init
    out_init: Initializer = nn.linear.default_kernel_init

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        train: bool = False,
        mask: Bool[Array, "B T"] | Bool[Array, "#B #H #T T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """`mask` says of each place whether it is seen, or of each pair of places whether the one sees the other."""
        B, T, D = x.shape
        mask = mask if mask is None or mask.ndim == 4 else mask[:, None, None, :]
        qkv = nn.Dense(3 * D, kernel_init=self.kernel_init, name="qkv")(rows(x)).reshape(B, T, 3 * D)
        query, key, value = split_heads(qkv, self.num_heads, 3)
        dropout = nn.Dropout(self.dropout, deterministic=not train, name="dropout")
        out = attend(query, key, value, mask, dropout)
        return nn.Dense(D, kernel_init=self.out_init, name="out")(rows(join_heads(out))).reshape(B, T, D)


def split_heads(x: Float[Array, "B T E"], num_heads: int, roles: int) -> Float[Array, "R B H T d"]:
    """Columns, ordered by head and then by role (query, key, value), as one array for each role.

    Raises:
      ValueError: the columns of a role are not a multiple of the heads.

    Example:
      >>> split_heads(jnp.ones((1, 3, 16)), num_heads=4, roles=2).shape
      (2, 1, 4, 3, 2)
    """
    B, T, E = x.shape
    if E // roles % num_heads:
        raise ValueError(f"width {E // roles} is not a multiple of num_heads {num_heads}")
    return x.reshape(B, T, num_heads, roles, -1).transpose(3, 0, 2, 1, 4)  # B T (H R d) -> R B H T d


def join_heads(x: Float[Array, "B H T d"]) -> Float[Array, "B T D"]:
    """The heads side by side: the inverse of `split_heads` for one role."""
    B, _, T, _ = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, -1)  # B H T d -> B T (H d)


class CausalSelfAttention(nn.Module):
    """Each place attends to itself and to those before it, in H heads of width D / H.

    One product makes queries, keys and values. Its columns are ordered by head, then by role, so that a split of the
    kernel over devices gives each of them whole heads.

    Args:
      num_heads: H; divides the width of the input.
      context: the longest sequence; the size of the cache when decoding.
      dropout: probability that an attention probability is dropped in training; may be a tracer.
      kernel_init: of the kernel that makes queries, keys and values.
      out_init: of the kernel that leads back to the residual stream.
      block: queries at a time, for long sequences, of which no probability is dropped then; all of them when None.

    Example:
      >>> layer = CausalSelfAttention(num_heads=2, context=8)
      >>> out, _ = jax.jit(layer.init_with_output)(jax.random.key(0), jnp.ones((1, 8, 16)))
      >>> out.shape
      (1, 8, 16)
    """

    num_heads: int
    context: int
    dropout: float = 0.0
    kernel_init: Initializer = nn.linear.default_kernel_init
    out_init: Initializer = nn.linear.default_kernel_init
    block: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], train: bool = False, given: int | jax.Array | None = None
    ) -> Float[Array, "B T D"]:
        """Attends within `x`.

        Args:
          x: the sequences.
          train: whether to drop.
          given: an array [B, T]: the segments of packed documents, each of which attends within itself. A number: the
            position of the first token, which attends to what the collection "cache" holds, too; keys and values are
            then written to it, and `apply(..., mutable=["cache"])` returns it (and makes it, when it isn't there yet).
        """
        B, T, D = x.shape
        qkv = nn.Dense(3 * D, kernel_init=self.kernel_init, name="qkv")(rows(x)).reshape(B, T, 3 * D)
        query, key, value = split_heads(qkv, self.num_heads, 3)
        segments = None if given is None or jnp.ndim(given) != 2 else jnp.asarray(given)
        position = given if segments is None else None
        if position is not None:
            key, value = self._cached("key", key, position), self._cached("value", value, position)
        start, S = 0 if position is None else position, key.shape[2]

        def see(places: Int[Array, " C"]) -> Bool[Array, "C S"] | Bool[Array, "B 1 C S"]:
            earlier = jnp.arange(S)[None, :] <= start + places[:, None]
            return earlier if segments is None else earlier[None, None] & together(segments[:, places], segments)

        if self.block is None or position is not None:
            dropout = nn.Dropout(self.dropout, deterministic=not train, name="dropout")
            out = attend(query, key, value, see(jnp.arange(T)), dropout)
        else:
            out = attend_in_blocks(query, key, value, see, self.block)
        return nn.Dense(D, kernel_init=self.out_init, name="out")(rows(join_heads(out))).reshape(B, T, D)

    def _cached(self, name: str, new: Float[Array, "B H T d"], position: int | jax.Array) -> Float[Array, "B H S d"]:
        B, H, _, d = new.shape
        cache = self.variable("cache", name, jnp.zeros, (B, H, self.context, d), new.dtype)
        cache.value = jax.lax.dynamic_update_slice(cache.value, new, (0, 0, position, 0))
        return cache.value
