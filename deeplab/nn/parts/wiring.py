"""How attention, feed-forward and norms make a block: one module for each way.

All have the same interface, that of the body of a scan over layers: `(x, train, reading, cache) -> (x, cache)`.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from deeplab.nn.attention.cache import Reading
from deeplab.nn.layout import rows

Stream = Float[Array, "B T D"]


def dropped(dropout: nn.Dropout | None, y: Stream, train: bool) -> Stream:
    """What a branch gives, after its dropout, if there is one.

    Example:
      >>> [dropped(drop, 3.0, train=True) for drop in (lambda y, deterministic: 0.0 if deterministic else 2 * y, None)]
      [6.0, 3.0]
    """
    return y if dropout is None else dropout(y, deterministic=not train)


def attended(attention: Any, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
    """What attention gives, and the new cache, if there is one.

    Example:
      >>> attended(lambda x, *_: 2 * x, 3.0, False, None, None)
      (6.0, None)
    """
    y = attention(x, reading, cache, train)
    return (y, None) if cache is None else y


class Residual(nn.Module):
    """x + mixer(norm(x)), where the mixer is all that there is of a layer.

    Args:
      mixer: Module called as `GroupedQueryAttention` is.
      norm: Norm of what it reads.

    Example:
      >>> import jax.numpy as jnp
      >>> x, twice, half = jnp.full((1, 1, 1), 4.0), (lambda x, *_: 2 * x), (lambda x: x / 2)
      >>> Residual(twice, half).apply({}, x, False, None, None)[0].item()  # 4 + 4
      8.0
    """

    mixer: nn.Module
    norm: nn.Module

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        y, cache = attended(self.mixer, self.norm(x), train, reading, cache)
        return x + y, cache

    def empty_cache(self, *sizes: Any) -> Any:
        mixer: Any = self.mixer
        return mixer.empty_cache(*sizes)


class PreNorm(nn.Module):
    """x + a attention(norm1(x)), then x + a feed_forward(norm2(x)).

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      feed_forward: Module applied to each position by itself.
      norm1: Norm of what the attention reads.
      norm2: Norm of what the feed-forward layer reads.
      residual: a, factor of both branches.
      drop: Dropout of what both branches give, if any.

    Example:
      >>> import jax.numpy as jnp
      >>> x, twice, half = jnp.full((1, 1, 1), 4.0), (lambda x, *_: 2 * x), (lambda x: x / 2)
      >>> PreNorm(twice, twice, half, half, residual=0.5).apply({}, x, False, None, None)[0].item()  # 4 + 2, and 6 + 3
      9.0

    Source: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
    """

    attention: nn.Module
    feed_forward: nn.Module
    norm1: nn.Module
    norm2: nn.Module
    residual: float = 1.0
    drop: nn.Dropout | None = None

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        shape, x = x.shape, rows(x)  # B T D -> (B T) D, for the reason in `deeplab.nn.transformer.Block`
        y, cache = attended(self.attention, self.norm1(x).reshape(shape), train, reading, cache)
        x = x + self._branch(y, train).reshape(x.shape)
        y = self.feed_forward(self.norm2(x).reshape(shape))
        return (x + self._branch(y, train).reshape(x.shape)).reshape(shape), cache

    def _branch(self, y: Stream, train: bool) -> Stream:
        y = dropped(self.drop, y, train)
        return y if self.residual == 1 else y * self.residual


class PostNorm(nn.Module):
    """norm1(x + attention(x)), then norm2(x + feed_forward(x)).

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      feed_forward: Module applied to each position by itself.
      norm1: Norm of the stream after the attention.
      norm2: Norm of the stream after the feed-forward layer.
      drop: Dropout of what both branches give, if any.

    Example:
      >>> import jax.numpy as jnp
      >>> x, twice, half = jnp.full((1, 1, 1), 4.0), (lambda x, *_: 2 * x), (lambda x: x / 2)
      >>> PostNorm(twice, twice, half, half).apply({}, x, False, None, None)[0].item()  # half of 4 + 8, and of 6 + 12
      9.0

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.1.
    """

    attention: nn.Module
    feed_forward: nn.Module
    norm1: nn.Module
    norm2: nn.Module
    drop: nn.Dropout | None = None

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        y, cache = attended(self.attention, x, train, reading, cache)
        x = self.norm1(x + dropped(self.drop, y, train))
        return self.norm2(x + dropped(self.drop, self.feed_forward(x), train)), cache


class SandwichNorm(nn.Module):
    """x + out_norm1(attention(norm1(x))), then x + out_norm2(feed_forward(norm2(x))).

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      feed_forward: Module applied to each position by itself.
      norm1: Norm of what the attention reads.
      out_norm1: Norm of what it gives.
      norm2: Norm of what the feed-forward layer reads.
      out_norm2: Norm of what it gives.

    Example:
      >>> import jax.numpy as jnp
      >>> x, twice, half = jnp.full((1, 1, 1), 4.0), (lambda x, *_: 2 * x), (lambda x: x / 2)
      >>> SandwichNorm(twice, twice, half, half, half, half).apply({}, x, False, None, None)[0].item()  # 4 + 2, 6 + 3
      9.0

    Source: Gemma Team 2024, https://arxiv.org/abs/2408.00118, section 2.
    """

    attention: nn.Module
    feed_forward: nn.Module
    norm1: nn.Module
    out_norm1: nn.Module
    norm2: nn.Module
    out_norm2: nn.Module

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        y, cache = attended(self.attention, self.norm1(x), train, reading, cache)
        x = x + self.out_norm1(y)
        return x + self.out_norm2(self.feed_forward(self.norm2(x))), cache


class BranchNorm(nn.Module):
    """x + out_norm1(attention(x)), then x + out_norm2(feed_forward(x)).

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      feed_forward: Module applied to each position by itself.
      out_norm1: Norm of what the attention gives.
      out_norm2: Norm of what the feed-forward layer gives.

    Example:
      >>> import jax.numpy as jnp
      >>> x, twice, half = jnp.full((1, 1, 1), 4.0), (lambda x, *_: 2 * x), (lambda x: x / 2)
      >>> BranchNorm(twice, twice, half, half).apply({}, x, False, None, None)[0].item()  # 4 + 4, and 8 + 8
      16.0

    Source: Team OLMo 2024, https://arxiv.org/abs/2501.00656, section 3.2.
    """

    attention: nn.Module
    feed_forward: nn.Module
    out_norm1: nn.Module
    out_norm2: nn.Module

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        y, cache = attended(self.attention, x, train, reading, cache)
        x = x + self.out_norm1(y)
        return x + self.out_norm2(self.feed_forward(x)), cache


class Parallel(nn.Module):
    """x + attention(norm1(x)) + feed_forward(norm1(x)).

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      feed_forward: Module applied to each position by itself.
      norm1: Norm of what both read.

    Example:
      >>> import jax.numpy as jnp
      >>> x, twice, half = jnp.full((1, 1, 1), 4.0), (lambda x, *_: 2 * x), (lambda x: x / 2)
      >>> Parallel(twice, twice, half).apply({}, x, False, None, None)[0].item()  # 4 + 4 + 4
      12.0

    Source: Wang and Komatsuzaki 2021, GPT-J, https://github.com/kingoflolz/mesh-transformer-jax.
    """

    attention: nn.Module
    feed_forward: nn.Module
    norm1: nn.Module

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        normed = self.norm1(x)
        y, cache = attended(self.attention, normed, train, reading, cache)
        return x + y + self.feed_forward(normed), cache


class ParallelNorms(nn.Module):
    """x + attention(norm1(x)) + feed_forward(norm2(x)).

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      feed_forward: Module applied to each position by itself.
      norm1: Norm of what the attention reads.
      norm2: Norm of what the feed-forward layer reads.

    Example:
      >>> import jax.numpy as jnp
      >>> x, twice, half = jnp.full((1, 1, 1), 4.0), (lambda x, *_: 2 * x), (lambda x: x / 2)
      >>> ParallelNorms(twice, twice, half, twice).apply({}, x, False, None, None)[0].item()  # 4 + 4 + 16
      24.0

    Source: Black et al. 2022, GPT-NeoX, https://arxiv.org/abs/2204.06745, section 2.1.
    """

    attention: nn.Module
    feed_forward: nn.Module
    norm1: nn.Module
    norm2: nn.Module

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        y, cache = attended(self.attention, self.norm1(x), train, reading, cache)
        return x + y + self.feed_forward(self.norm2(x)), cache
