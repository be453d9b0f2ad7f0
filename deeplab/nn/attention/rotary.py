"""Rotary position embeddings, and causal attention whose heads of keys and values are shared by groups of query heads.

Su et al. 2021, "RoFormer", https://arxiv.org/abs/2104.09864; Ainslie et al. 2023, "GQA",
https://arxiv.org/abs/2305.13245.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.cache import Index, KVCache
from deeplab.nn.attention.dot_product import attend
from deeplab.nn.attention.self_attention import Initializer, join_heads, split_heads


def rotary_angles(positions: Int[Array, "*B T"], head_dim: int, base: float = 10_000.0) -> Float[Array, "2 *B T d/2"]:
    """cos and sin of the angles t base^(-2 i / d), i < d / 2, by which `rotate` turns a head at position t.

    Args:
      positions: Positions of the tokens, for the batch or for each example.
      head_dim: Width d of a head.
      base: Base of the wavelengths, which reach 2 pi base.

    Example:
      >>> rotary_angles(jnp.arange(3), head_dim=8).shape
      (2, 3, 4)
    """
    rates = base ** (-jnp.arange(0, head_dim, 2) / head_dim)
    angles = positions[..., None] * rates.reshape(*[1] * positions.ndim, -1)  # [*B, T, d / 2]
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)])


def rotate(x: Float[Array, "B H T d"], angles: Float[Array, "2 *B T d/2"]) -> Float[Array, "B H T d"]:
    """Rotates each pair (x_i, x_(i + d/2)) by its angle, in float32, so that products depend on distances alone.

    <rotate(q, s), rotate(k, t)> is a function of q, k and s - t. Su et al. pair neighbors, (x_2i, x_2i+1): the same up
    to the order of a kernel's columns.

    Example:
      >>> x = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
      >>> [round(float(y), 2) for y in rotate(x, rotary_angles(jnp.array([1]), 2)).ravel()]  # by one radian
      [0.54, 0.84]

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2.
    """
    cos, sin = angles[:, None, None] if angles.ndim == 3 else angles[:, :, None]  # [1 | B, 1, T, d / 2] each
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


@ranges.checked(num_heads=ranges.COUNT, num_kv_heads=ranges.COUNT, block=ranges.COUNT)
class GroupedQueryAttention(nn.Module):
    """Causal self-attention in which H heads of queries share K heads of keys and values.

    H = K is multi-head attention, K = 1 multi-query attention. Keys are rotated before they are cached.

    Args:
      num_heads: H, which divides the width of the input.
      num_kv_heads: K, which divides H.
      kernel_init: Initializer of the kernels that make queries, keys and values.
      out_init: Initializer of the kernel that leads back to the residual stream.
      block: Number of positions processed at a time for long sequences; see `attend`.

    Raises:
      ValueError: K does not divide H.

    Example:
      >>> layer = GroupedQueryAttention(num_heads=4, num_kv_heads=2)
      >>> angles = rotary_angles(jnp.arange(8), head_dim=4)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 16)), angles)[0].shape
      (1, 8, 16)
    """

    num_heads: int
    num_kv_heads: int
    kernel_init: Initializer = nn.linear.default_kernel_init
    out_init: Initializer = nn.linear.default_kernel_init
    block: int | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        angles: Float[Array, "2 *B T d/2"],
        cache: KVCache | None = None,
        cache_index: Index = 0,
    ) -> Any:
        """The outputs [B, T, D]; with a cache, a pair of them and the new cache, as of `SelfAttention`."""
        (D, H, K) = x.shape[-1], self.num_heads, self.num_kv_heads
        if H % K:
            raise ValueError(f"num_heads {H} is not a multiple of num_kv_heads {K}")
        query = rotate(self._heads("query", x, H, D), angles)
        key = rotate(self._heads("key", x, K, D // H * K), angles)
        value = self._heads("value", x, K, D // H * K)
        if cache is not None:
            cache = cache.update(key, value, cache_index)
            key, value = cache.key.astype(key.dtype), cache.value.astype(value.dtype)
        out = attend(
            query,
            key,
            value,
            causal=True,
            offset=0 if cache is None else cache_index,
            block=self.block if cache is None else None,
        )
        y = nn.Dense(D, use_bias=False, kernel_init=self.out_init, name="out")(join_heads(out))
        return y if cache is None else (y, cache)

    def _heads(self, name: str, x: jax.Array, heads: int, width: int) -> Float[Array, "B H T d"]:
        y = nn.Dense(width, use_bias=False, kernel_init=self.kernel_init, name=name)(x)
        return split_heads(y, heads, 1)[0]
