"""Rotary positions, and causal attention whose keys and values are shared by groups of query heads."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.nn.attention.dot_product import Initializer, attend, attend_in_blocks, split_heads
from deeplab.nn.layout import check_block


def rotation(places: Int[Array, " T"], width: int, base: float = 10_000.0) -> Float[Array, "2 T d/2"]:
    """cos and sin of the angles t base^(-2 i / d), i < d / 2, by which `rotate` turns a head of width d at place t.

    Example:
      >>> rotation(jnp.arange(3), width=8).shape
      (2, 3, 4)
    """
    rates = base ** (-jnp.arange(0, width, 2) / width)
    angles = places[:, None] * rates[None, :]  # [T, d / 2]
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)])


def rotate(x: Float[Array, "B H T d"], turn: Float[Array, "2 T d/2"]) -> Float[Array, "B H T d"]:
    """Turns each pair (x_i, x_(i + d/2)) by its angle, in float32, so that products depend on distances alone.

    <rotate(q, s), rotate(k, t)> is a function of q, k and s - t. Su et al. pair neighbours, (x_2i, x_2i+1): the same up
    to the order of a kernel's columns.

    Example:
      >>> x = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
      >>> [round(float(y), 2) for y in rotate(x, rotation(jnp.array([1]), 2)).ravel()]  # by one radian
      [0.54, 0.84]

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2.
    """
    cos, sin = turn[:, None, None]  # [1, 1, T, d / 2] each
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


class GroupedQueryAttention(nn.Module):
    """Each place attends to itself and to those before it; H heads of queries share K heads of keys and values.

    H = K is multi-head attention, K = 1 multi-query attention. Keys are rotated before they are cached.

    Args:
      num_heads: H; divides the width of the input.
      num_kv_heads: K; divides H.
      context: the longest sequence; the size of the cache when decoding.
      kernel_init: of the kernels that make queries, keys and values.
      out_init: of the kernel that leads back to the residual stream.
      block: places at a time, for long sequences; all of them when None. See `attend_in_blocks`.

    Raises:
      ValueError: K does not divide H.

    Example:
      >>> layer = GroupedQueryAttention(num_heads=4, num_kv_heads=2, context=8)
      >>> turn = rotation(jnp.arange(8), width=4)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 16)), turn)[0].shape
      (1, 8, 16)

    Source: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245.
    """

    num_heads: int
    num_kv_heads: int
    context: int
    kernel_init: Initializer = nn.linear.default_kernel_init
    out_init: Initializer = nn.linear.default_kernel_init
    block: int | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        turn: Float[Array, "2 T d/2"],
        position: int | jax.Array | None = None,
    ) -> Float[Array, "B T D"]:
        """Attends within `x`, or from `position` on by way of the collection "cache", as `CausalSelfAttention` does."""
        B, T, D = x.shape
        H, K = self.num_heads, self.num_kv_heads
        if H % K:
            raise ValueError(f"num_heads {H} is not a multiple of num_kv_heads {K}")
        query = rotate(self._heads("query", x, H, D), turn)
        key = rotate(self._heads("key", x, K, D // H * K), turn)
        value = self._heads("value", x, K, D // H * K)
        if position is not None:
            key, value = self._cached("key", key, position), self._cached("value", value, position)
        # The queries of a group stand side by side, as if they were more places: K plain products, and no copies of
        # keys. Time comes first, so that it can be split over devices.
        G = H // K
        query = query.reshape(B, K, G, T, -1).swapaxes(2, 3).reshape(B, K, T * G, -1)  # B (K G) T d -> B K (T G) d
        start, S = 0 if position is None else position, key.shape[2]

        def see(queries: Int[Array, " C"]) -> Bool[Array, "C S"]:
            return jnp.arange(S)[None, :] <= start + queries[:, None] // G

        if self.block is None or position is not None:
            out = attend(query, key, value, see(jnp.arange(T * G)))
        else:
            check_block(T, self.block)
            out = attend_in_blocks(query, key, value, see, self.block * G)
        out = out.reshape(B, K, T, G, -1).swapaxes(1, 2).reshape(B, T, D)  # B K (T G) d -> B T (K G d)
        return nn.Dense(D, use_bias=False, kernel_init=self.out_init, name="out")(out)

    def _heads(self, name: str, x: jax.Array, heads: int, width: int) -> Float[Array, "B H T d"]:
        y = nn.Dense(width, use_bias=False, kernel_init=self.kernel_init, name=name)(x)
        return split_heads(y, heads, 1)[0]

    def _cached(self, name: str, new: Float[Array, "B K T d"], position: int | jax.Array) -> Float[Array, "B K S d"]:
        B, K, _, d = new.shape
        # Linen's names are one set: a layer and a variable cannot both be called "key".
        cache = self.variable("cache", f"cached_{name}", jnp.zeros, (B, K, self.context, d), new.dtype)
        cache.value = jax.lax.dynamic_update_slice(cache.value, new, (0, 0, position, 0))
        return cache.value
