"""Attention whose heads of keys and values are shared by groups of query heads.

Ainslie et al. 2023, "GQA", https://arxiv.org/abs/2305.13245.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.attention.cache import KVCache, Reading
from deeplab.nn.attention.dot_product import attend
from deeplab.nn.attention.rotary import GridRotary, Rotary
from deeplab.nn.attention.scores import Scores
from deeplab.nn.attention.self_attention import Initializer, join_heads, split_heads
from deeplab.nn.layout import rows


@ranges.checked(
    num_heads=ranges.COUNT,
    num_kv_heads=ranges.COUNT,
    head_dim=ranges.COUNT,
    window=ranges.COUNT,
    block=ranges.COUNT,
    dropout=ranges.RATE,
)
class GroupedQueryAttention(nn.Module):
    """Self-attention in which H heads of queries share K heads of keys and values.

    H = K is multi-head attention, K = 1 multi-query attention. Keys are rotated before they are cached.

    Args:
      num_heads: H.
      num_kv_heads: K, which divides H.
      head_dim: Width d of a head; that of the input divided by H when None.
      rotary: Rotation of queries and keys by their positions, if any.
      query_norm: Norm of the queries [B, H, T, d] before they turn, if any.
      key_norm: Norm of the keys, likewise.
      use_bias: Whether queries, keys and values have biases.
      key_bias: Whether keys have one, where that differs.
      out_bias: Whether the output has a bias.
      scale: Factor of the products of queries and keys; 1 / sqrt(d) when None.
      causal: Whether a query attends only to its own position and those before it.
      window: Number of positions that a query attends to, its own the last (and as many after it, unless causal); all
        of them when None.
      soft_cap: Bound of the scores; see `deeplab.nn.attention.scores.Scores`.
      slopes: Slope of each head by distance (ALiBi), if any.
      sinks: Module that gives each head's score of no key, such as `Sinks`, if any.
      limit: Bound of the components of queries, keys (after their norms) and values, if any.
      kernel_init: Initializer of the kernels that make queries, keys and values.
      out_init: Initializer of the kernel that leads back to the residual stream.
      block: Number of positions processed at a time for long sequences; see `attend`.
      dropout: Probability of dropping an attention probability in training, without blocks; may be a tracer.

    Raises:
      ValueError: K does not divide H.

    Example:
      >>> layer = GroupedQueryAttention(num_heads=4, num_kv_heads=2, rotary=Rotary(width=4))
      >>> reading = Reading(jnp.arange(8))
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 16)), reading)[0].shape
      (1, 8, 16)
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int | None = None
    rotary: Rotary | GridRotary | None = None
    query_norm: nn.Module | None = None
    key_norm: nn.Module | None = None
    use_bias: bool = False
    key_bias: bool | None = None
    out_bias: bool = False
    scale: float | None = None
    causal: bool = True
    window: int | None = None
    soft_cap: float | None = None
    slopes: tuple[float, ...] | None = None
    sinks: nn.Module | None = None
    limit: float | None = None
    kernel_init: Initializer = nn.linear.default_kernel_init
    out_init: Initializer = nn.linear.default_kernel_init
    block: int | None = None
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], reading: Reading, cache: KVCache | None = None, train: bool = False
    ) -> Any:
        """The outputs [B, T, D]; with a cache, a pair of them and the new cache, as of `SelfAttention`."""
        D, H, K = x.shape[-1], self.num_heads, self.num_kv_heads
        if H % K:
            raise ValueError(f"num_heads {H} is not a multiple of num_kv_heads {K}")
        length = None if cache is None else cache.key.shape[-2]
        query = self._turned(self._heads("query", x, H), self.query_norm, reading, length)
        key = self._turned(self._heads("key", x, K), self.key_norm, reading, length)
        value = self._limited(self._heads("value", x, K))
        if self.scale is not None:
            query = query * (self.scale * query.shape[-1] ** 0.5)  # `attend` divides by sqrt(d)
        if cache is not None:
            cache = cache.update(key, value, reading.cache_index)
            key, value = cache.key.astype(key.dtype), cache.value.astype(value.dtype)
        out = attend(
            query,
            key,
            value,
            causal=self.causal,
            window=self.window,
            segment_ids=reading.segment_ids,
            offset=0 if cache is None else reading.cache_index,
            block=self.block if cache is None else None,
            dropout=nn.Dropout(self.dropout, deterministic=not train, name="dropout"),
            scores=Scores(
                self.soft_cap,
                None if self.slopes is None else jnp.array(self.slopes, jnp.float32),
                None if self.sinks is None else self.sinks(),
                reading.bias,
            ),
        )
        out = nn.Dense(D, use_bias=self.out_bias, kernel_init=self.out_init, name="out")(rows(join_heads(out)))
        out = out.reshape(x.shape)
        return out if cache is None else (out, cache)

    def empty_cache(self, batch_size: int, length: int, width: int, num_layers: int, dtype: jnp.dtype) -> KVCache:
        """The cache of `num_layers` stacked layers of this one, [B, L, K, S, d], that read a stream of this width."""
        head_dim = self.head_dim or width // self.num_heads
        return KVCache.empty(batch_size, self.num_kv_heads, length, head_dim, dtype=dtype, layers=(num_layers,))

    def _heads(self, name: str, x: jax.Array, heads: int) -> Float[Array, "B H T d"]:
        width = heads * (self.head_dim or x.shape[-1] // self.num_heads)
        bias = self.use_bias if name != "key" or self.key_bias is None else self.key_bias
        y = nn.Dense(width, use_bias=bias, kernel_init=self.kernel_init, name=name)(rows(x))
        return split_heads(y.reshape(*x.shape[:2], width), heads, 1)[0]

    def _turned(self, x: jax.Array, norm: nn.Module | None, reading: Reading, length: Any) -> Float[Array, "B H T d"]:
        x = self._limited(x if norm is None else norm(x))
        return x if self.rotary is None else self.rotary(x, reading.positions, length)

    def _limited(self, x: jax.Array) -> jax.Array:
        return x if self.limit is None else jnp.clip(x, -self.limit, self.limit)


@ranges.checked(num_heads=ranges.COUNT)
class Sinks(nn.Module):
    """A learned score for each of H heads, of attending to no key.

    Example:
      >>> Sinks(num_heads=4).init_with_output(jax.random.key(0))[0].shape
      (4,)
    """

    num_heads: int

    @nn.compact
    def __call__(self) -> Float[Array, " H"]:
        return self.param("score", nn.initializers.zeros, (self.num_heads,))


class AcrossHeads(nn.Module):
    """A norm of all heads [B, H, T, d] of a token together: of [B, T, (H d)].

    Example:
      >>> AcrossHeads(nn.RMSNorm()).init(jax.random.key(0), jnp.ones((1, 4, 3, 2)))["params"]["norm"]["scale"].shape
      (8,)
    """

    norm: nn.Module

    @nn.compact
    def __call__(self, x: Float[Array, "B H T d"]) -> Float[Array, "B H T d"]:
        return split_heads(self.norm(join_heads(x)), x.shape[1], 1)[0]
