"""Scaled dot-product attention: one function, which chooses its kernel.

Vaswani et al. 2017, "Attention is all you need", https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core.precision import widened
from deeplab.nn.attention.cache import Index
from deeplab.nn.attention.kernels import Kernel, kernel_of
from deeplab.nn.attention.masking import same_segment_mask
from deeplab.nn.attention.scores import Scores
from deeplab.nn.layout import check_block, for_each_part, parts_of_time, split_queries
from deeplab.nn.marks import mark

Mask = Bool[Array, "T S"] | Bool[Array, "#B #H #T S"]
PLAIN = Scores()
"""Products of queries and keys as they are."""

MaskFn = Callable[[Int[Array, " C"]], Bool[Array, "C S"] | Bool[Array, "#B #H #C S"] | None]
"""From the positions of C queries to their rows of a mask."""


def attend(
    query: Float[Array, "B H T d"],
    key: Float[Array, "B K S d"],
    value: Float[Array, "B K S d"],
    mask: Mask | None = None,
    *,
    causal: bool = False,
    segment_ids: Int[Array, "B T"] | None = None,
    window: int | None = None,
    offset: Index = 0,
    block: int | None = None,
    dropout: Callable[[jax.Array], jax.Array] | None = None,
    scores: Scores = PLAIN,
    kernel: Kernel | None = None,
) -> Float[Array, "B H T d"]:
    """softmax(q k^T / sqrt(d)) v, with the softmax in float32 whatever the inputs are.

    Heads come before time, so that both products are plain batches of matrices: on a CPU, 2 to 3 times faster than
    the layout [B, T, H, d] (12 x 4 heads of 64 x 32: 0.13 and 0.15 ms instead of 0.30 and 0.40). A query may attend to
    the keys that every one of `mask`, `causal`, `segment_ids` and `window` allows. A query that may attend to no key
    gets the mean of all values.

    Args:
      query: Queries of H heads at T positions.
      key: Keys of K heads at S positions; K divides H, and each head of keys serves H / K adjacent heads of queries.
      value: Values, likewise; their heads may have another width.
      mask: True where query t may attend to key s: for all examples, or with axes of examples and heads.
      causal: Whether a query attends only to its own position and those before it.
      segment_ids: Segment of each token where several sequences share a row; a token attends within its own segment.
      window: Number of positions that a query attends to, its own the last (and as many after it, unless causal); all
        of them when None.
      offset: Position of the first query among the keys: the `cache_index` of a decoder, or one for each example.
      block: Number of queries processed at a time; see `attend_in_blocks`. No probability is dropped then.
      dropout: Function applied to the probabilities.
      scores: Changes of the products of queries and keys, such as a soft cap.
      kernel: Kernel to use instead of that of `kernel_of`.

    Raises:
      ValueError: K does not divide H; segment ids without keys at the positions of the queries; or arguments that the
        named kernel does not support.

    Example:
      >>> q = k = v = jnp.ones((1, 2, 3, 4))
      >>> attend(q, k, v, causal=True).shape
      (1, 2, 3, 4)
    """
    (H, T), (K, S) = query.shape[1:3], key.shape[1:3]
    if H % K:
        raise ValueError(f"num_heads {H} is not a multiple of num_kv_heads {K}")
    if segment_ids is not None and T != S:
        raise ValueError(f"segment_ids need keys at the positions of the queries, got {T} queries and {S} keys")
    query, key, value = mark(query, "attention_queries"), mark(key, "attention_keys"), mark(value, "attention_values")
    constraints = {"causal": causal, "segment_ids": segment_ids, "window": window, "offset": offset}
    usual = all(change is None for change in scores) and value.shape[-1] == query.shape[-1]
    arguments = {**constraints, "block": block, "dropout": dropout, "usual": usual}
    if kernel == "cudnn" and kernel_of(query, key, mask, **arguments, platform="cuda") != "cudnn":
        raise ValueError("cuDNN does not compute attention with these arguments here; leave out kernel='cudnn'")
    kernel = kernel or kernel_of(query, key, mask, **arguments)
    if kernel == "cudnn":
        return mark(_cudnn(query, key, value, causal, window), "attention_heads")
    G = H // K
    mask_fn, query = _mask_fn(mask, S, G, **constraints), _grouped(query, G)
    if kernel == "blocks":
        check_block(T, block or T)
        out = attend_in_blocks(query, key, value, mask_fn, (block or T) * G, scores, G)
    else:
        rows = jnp.arange(T * G)
        out = _product(*split_queries(query, key, value), mask_fn(rows), dropout, scores.of_rows(rows, G), G)
    return mark(_ungrouped(out, G), "attention_heads")


def _grouped(query: Float[Array, "B H T d"], group: int) -> Float[Array, "B K TG d"]:
    """The queries of a group side by side, as if they were more positions: K plain products, and no copies of keys.

    Time comes first, so that it can be split over devices.
    """
    if group == 1:
        return query
    B, H, T, d = query.shape
    grouped = query.reshape(B, H // group, group, T, d).swapaxes(2, 3)
    return grouped.reshape(B, H // group, T * group, d)  # B (K G) T d -> B K (T G) d


def _ungrouped(out: Float[Array, "B K TG d"], group: int) -> Float[Array, "B H T d"]:
    if group == 1:
        return out
    B, K, TG, d = out.shape
    ungrouped = out.reshape(B, K, TG // group, group, d).swapaxes(2, 3)
    return ungrouped.reshape(B, K * group, TG // group, d)  # B K (T G) d -> B (K G) T d


def _cudnn(query: jax.Array, key: jax.Array, value: jax.Array, causal: bool, window: int | None) -> jax.Array:
    query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))  # B H T d -> B T H d
    left = None if window is None else (window - 1, 0)
    out = jax.nn.dot_product_attention(
        query, key, value, is_causal=causal, local_window_size=left, implementation="cudnn"
    )
    return out.swapaxes(1, 2)


def _mask_fn(
    mask: Any, num_keys: int, group: int, *, causal: bool, segment_ids: Any, window: int | None, offset: Index
) -> MaskFn:
    """The rows of all constraints together; a position has `group` adjacent queries."""
    keys = jnp.arange(num_keys)[None, None, None, :]

    def mask_fn(queries: Int[Array, " C"]) -> jax.Array | None:
        positions = queries // group if group > 1 else queries
        at = jnp.add.outer(jnp.atleast_1d(jnp.asarray(offset)), positions)[:, None, :, None]  # [1 | B, 1, C, 1]
        rows = []
        if mask is not None:
            full = mask if mask.ndim == 4 else mask[None, None]
            rows.append(full if full.shape[2] in (1, len(positions)) else full[:, :, positions])
        if causal:
            rows.append(keys <= at)
        if window is not None:
            rows.append(keys > at - window)
            if not causal:
                rows.append(keys < at + window)
        if segment_ids is not None:
            rows.append(same_segment_mask(segment_ids[:, positions], segment_ids))
        return None if not rows else _all(rows)

    return mask_fn


def _all(masks: list[jax.Array]) -> jax.Array:
    first, *others = masks
    for mask in others:
        first = first & mask
    return first


def _product(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: Any, dropout: Any, scores: Scores, group: int
) -> jax.Array:
    """The product of the weights, which have a name, [B, H, T, S], and the values."""
    weights = _ungrouped(attention_weights(query, key, mask, scores), group)
    probabilities = _grouped(mark(weights, "attention_weights"), group).astype(value.dtype)
    if dropout is not None:
        probabilities = dropout(probabilities)
    return jnp.einsum("bhts,bhsd->bhtd", probabilities, value)


def attention_weights(
    query: Float[Array, "B H T d"],
    key: Float[Array, "B H S d"],
    mask: Mask | None = None,
    scores: Scores = PLAIN,
) -> Float[Array, "B H T S"]:
    """softmax(q k^T / sqrt(d)) in float32 at least, the weights of the values in `attend`.

    Example:
      >>> key = jnp.array([[0.0], [jnp.log(3.0)]])[None, None]
      >>> [round(float(w), 2) for w in attention_weights(jnp.ones((1, 1, 1, 1)), key).ravel()]
      [0.25, 0.75]
    """
    products = widened(jnp.einsum("bhtd,bhsd->bhts", query * query.shape[-1] ** -0.5, key))
    return scores.weights(products, mask if mask is None or mask.ndim == 4 else mask[None, None])


def attend_in_blocks(
    query: Float[Array, "B H T d"],
    key: Float[Array, "B H S d"],
    value: Float[Array, "B H S d"],
    mask_fn: MaskFn,
    block: int,
    scores: Scores = PLAIN,
    group: int = 1,
) -> Float[Array, "B H T d"]:
    """`attend` for one block of queries at a time: memory grows with C S instead of T S, also in the backward pass.

    The backward pass computes the probabilities of each block again. Where a mesh splits time, each device works
    through its own part.

    Args:
      query: Queries at T positions.
      key: Keys at S positions.
      value: Values, likewise.
      mask_fn: Function from the positions of C queries to their rows of the mask.
      block: C, queries at a time; it divides T, or a device's part of T.
      scores: Changes of the products of queries and keys.
      group: Number of heads of queries side by side in the T positions.

    Raises:
      ValueError: The block does not divide T.

    Example:
      >>> q = k = v = jnp.ones((1, 2, 8, 4))
      >>> attend_in_blocks(q, k, v, lambda positions: jnp.arange(8)[None] <= positions[:, None], block=2).shape
      (1, 2, 8, 4)

    Source: Rabe and Staats 2021, https://arxiv.org/abs/2112.05682; the outer one of their two loops.
    """
    B, H, T, D = query.shape
    check_block(T, block)
    parts = parts_of_time(T)
    blocks = query.reshape(B, H, parts, -1, block, D).transpose(3, 2, 0, 1, 4, 5)  # B H (n c C) D -> c n B H C D
    positions = jnp.arange(T).reshape(parts, -1, block).swapaxes(0, 1)  # (n c C) -> c n C
    # A copy for each device, which gathers it once and sums its own gradient before those of all are added up.
    keys, values = for_each_part(key, parts), for_each_part(value, parts)  # n B H S D

    @jax.checkpoint
    def one_block(block_of_queries: tuple[jax.Array, jax.Array]) -> jax.Array:
        def product(q: jax.Array, k: jax.Array, v: jax.Array, at: jax.Array) -> jax.Array:
            return _product(q, k, v, mask_fn(at), None, scores.of_rows(at, group), group)

        return jax.vmap(product)(block_of_queries[0], keys, values, block_of_queries[1])

    out = jax.lax.map(one_block, (blocks, positions))
    return out.transpose(2, 3, 1, 0, 4, 5).reshape(B, H, T, value.shape[-1])
