"""Multi-head latent attention: keys and values are made of one small vector for each token, which is cached.

DeepSeek-AI 2024, "DeepSeek-V2", https://arxiv.org/abs/2405.04434, section 2.1.
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
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.attention.self_attention import Initializer, join_heads, split_heads


@ranges.checked(
    num_heads=ranges.COUNT,
    rank=ranges.COUNT,
    query_rank=ranges.COUNT,
    plain_dim=ranges.COUNT,
    value_dim=ranges.COUNT,
    block=ranges.COUNT,
)
class LatentAttention(nn.Module):
    """Causal self-attention in H heads through latent vectors of rank R.

    A head's queries and keys have a part without position, made of the latent vector, and a part that turns; the keys'
    turning part is shared by all heads. The cache holds it and the latent vector.

    Args:
      num_heads: H.
      rank: R, of keys and values.
      query_rank: Rank of the queries; they are made at once when None.
      plain_dim: Width of the part of queries and keys that does not turn.
      rotary: Rotation of the other part, as wide as it.
      value_dim: Width of a head of values.
      scale: Factor of the products of queries and keys; 1 / sqrt(their width) when None.
      use_bias: Whether the products with the stream have biases.
      epsilon: Number added to the mean square in norms.
      kernel_init: Initializer of the kernels.
      out_init: Initializer of the kernel that leads back to the residual stream.
      block: Number of positions processed at a time for long sequences; see `attend`.

    Example:
      >>> layer = LatentAttention(num_heads=4, rank=8, query_rank=None, plain_dim=4, rotary=Rotary(4), value_dim=4)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 16)), Reading(jnp.arange(8)))[0].shape
      (1, 8, 16)
    """

    num_heads: int
    rank: int
    query_rank: int | None
    plain_dim: int
    rotary: Rotary
    value_dim: int
    scale: float | None = None
    use_bias: bool = False
    epsilon: float = 1e-6
    kernel_init: Initializer = nn.linear.default_kernel_init
    out_init: Initializer = nn.linear.default_kernel_init
    block: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], reading: Reading, cache: KVCache | None = None, train: bool = False
    ) -> Any:
        """The outputs [B, T, D]; with a cache, a pair of them and the new cache, as of `SelfAttention`."""
        del train
        H, turning = self.num_heads, self.rotary.width
        length = None if cache is None else cache.key.shape[-2]
        query = split_heads(self._query(x), H, 1)[0]
        plain, turned = jnp.split(query, [self.plain_dim], axis=-1)
        query = jnp.concatenate([plain, self.rotary(turned, reading.positions, length)], axis=-1)
        if self.scale is not None:
            query = query * (self.scale * query.shape[-1] ** 0.5)  # `attend` divides by sqrt(d)

        both = self._dense("key_value_down", self.rank + turning, self.use_bias)(x)
        latent, turned = jnp.split(both, [self.rank], axis=-1)
        latent = nn.RMSNorm(self.epsilon, name="key_value_norm")(latent)[:, None]  # [B, 1, T, R]
        turned = self.rotary(turned[:, None], reading.positions, length)
        if cache is not None:
            cache = cache.update(turned, latent, reading.cache_index)
            turned, latent = cache.key.astype(turned.dtype), cache.value.astype(latent.dtype)

        both = self._dense("key_value_up", H * (self.plain_dim + self.value_dim))(latent[:, 0])
        key, value = jnp.split(split_heads(both, H, 1)[0], [self.plain_dim], axis=-1)
        shared = jnp.broadcast_to(turned, (*key.shape[:-1], turning))
        out = attend(
            query,
            jnp.concatenate([key, shared], axis=-1),
            value,
            causal=True,
            segment_ids=reading.segment_ids,
            offset=0 if cache is None else reading.cache_index,
            block=self.block if cache is None else None,
        )
        out = nn.Dense(x.shape[-1], use_bias=self.use_bias, kernel_init=self.out_init, name="out")(join_heads(out))
        return out if cache is None else (out, cache)

    def empty_cache(self, batch_size: int, length: int, width: int, num_layers: int, dtype: jnp.dtype) -> KVCache:
        """The cache of `num_layers` stacked layers of this one: keys [B, L, 1, S, turning], values [B, L, 1, S, R]."""
        del width
        sizes = {"dtype": dtype, "layers": (num_layers,)}
        keys = KVCache.empty(batch_size, 1, length, self.rotary.width, **sizes)
        return keys._replace(value=KVCache.empty(batch_size, 1, length, self.rank, **sizes).value)

    def _query(self, x: jax.Array) -> jax.Array:
        width = self.num_heads * (self.plain_dim + self.rotary.width)
        if self.query_rank is None:
            return self._dense("query_up", width)(x)
        latent = self._dense("query_down", self.query_rank, self.use_bias)(x)
        return self._dense("query_up", width)(nn.RMSNorm(self.epsilon, name="query_norm")(latent))

    def _dense(self, name: str, width: int, use_bias: bool = False) -> nn.Module:
        return nn.Dense(width, use_bias=use_bias, kernel_init=self.kernel_init, name=name)
