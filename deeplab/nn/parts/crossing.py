"""Blocks of decoders that attend to what an encoder has read: one module for each way.

They have the interface of `deeplab.nn.parts.wiring`, and a method `read`: the body of a scan that gives each layer's
keys and values of the memory. With a cache, a layer is given the pair of it and of them, and gives its new cache. With
`Look` in its place it gives the weights of its attention to the memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from deeplab.nn.attention.cache import KVCache, Reading
from deeplab.nn.parts.wiring import Stream, attended, dropped


class Look(NamedTuple):
    """In the place of a cache: a tree without leaves, which passes through a scan.

    Example:
      >>> import jax
      >>> jax.tree.leaves(Look())
      []
    """


class CrossPreNorm(nn.Module):
    """x + attention(norm1(x)), x + cross(cross_norm(x), memory), x + feed_forward(norm2(x)).

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      cross: Module called as `deeplab.nn.attention.cross.CrossAttention` is.
      feed_forward: Module applied to each position by itself.
      norm1: Norm of what the attention reads.
      cross_norm: Norm of what reads the memory.
      norm2: Norm of what the feed-forward layer reads.
      drop: Dropout of what the branches give, if any.

    Example:
      >>> import jax.numpy as jnp
      >>> from deeplab.nn.attention.cache import Memory
      >>> reading = Reading(jnp.arange(1), memory=Memory(jnp.ones((1, 1, 1)), None))
      >>> twice, half, memory = (lambda x, *_: 2 * x), (lambda x: x / 2), (lambda x, states, *_: states)
      >>> block = CrossPreNorm(twice, memory, twice, half, half, half)
      >>> block.apply({}, jnp.full((1, 1, 1), 4.0), False, reading, None)[0].item()  # 4 + 4, + 1, + 9
      18.0

    Source: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
    """

    attention: nn.Module
    cross: nn.Module
    feed_forward: nn.Module
    norm1: nn.Module
    cross_norm: nn.Module
    norm2: nn.Module
    drop: nn.Dropout | None = None

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        own, memory, mask = _memory(reading, cache)
        y, new = attended(self.attention, self.norm1(x), train, reading, own)
        x = x + dropped(self.drop, y, train)
        asks = self.cross_norm(x)
        x = x + dropped(self.drop, self.cross(asks, memory, mask, train), train)
        if isinstance(cache, Look):
            new = _weights(self.cross, asks, memory, mask)
        return x + dropped(self.drop, self.feed_forward(self.norm2(x)), train), new

    def read(self, carry: None, states: Float[Array, "B S E"]) -> tuple[None, KVCache]:
        """The layer's keys and values of these states."""
        cross: Any = self.cross
        return carry, cross.read(states)


class CrossPostNorm(nn.Module):
    """norm1(x + attention(x)), cross_norm(x + cross(x, memory)), norm2(x + feed_forward(x)).

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      cross: Module called as `deeplab.nn.attention.cross.CrossAttention` is.
      feed_forward: Module applied to each position by itself.
      norm1: Norm of the stream after the attention.
      cross_norm: Norm of the stream after what is read of the memory.
      norm2: Norm of the stream after the feed-forward layer.
      drop: Dropout of what the branches give, if any.

    Example:
      >>> import jax.numpy as jnp
      >>> from deeplab.nn.attention.cache import Memory
      >>> reading = Reading(jnp.arange(1), memory=Memory(jnp.ones((1, 1, 1)), None))
      >>> twice, half, memory = (lambda x, *_: 2 * x), (lambda x: x / 2), (lambda x, states, *_: states)
      >>> block = CrossPostNorm(twice, memory, twice, half, half, half)
      >>> block.apply({}, jnp.full((1, 1, 1), 4.0), False, reading, None)[0].item()  # half of 12, of 7, of 10.5
      5.25

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.1.
    """

    attention: nn.Module
    cross: nn.Module
    feed_forward: nn.Module
    norm1: nn.Module
    cross_norm: nn.Module
    norm2: nn.Module
    drop: nn.Dropout | None = None

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        own, memory, mask = _memory(reading, cache)
        y, new = attended(self.attention, x, train, reading, own)
        x = self.norm1(x + dropped(self.drop, y, train))
        if isinstance(cache, Look):
            new = _weights(self.cross, x, memory, mask)
        x = self.cross_norm(x + dropped(self.drop, self.cross(x, memory, mask, train), train))
        return self.norm2(x + dropped(self.drop, self.feed_forward(x), train)), new

    def read(self, carry: None, states: Float[Array, "B S E"]) -> tuple[None, KVCache]:
        """The layer's keys and values of these states."""
        cross: Any = self.cross
        return carry, cross.read(states)


def _memory(reading: Reading, cache: Any) -> tuple[Any, Any, Any]:
    """A layer's cache, the states or its keys and values of them, and their mask."""
    if reading.memory is None:
        raise ValueError("a block that attends to a memory needs one; give reading.memory")
    own, memory = (None, reading.memory.states) if cache is None or isinstance(cache, Look) else cache
    return own, memory, reading.memory.mask


def _weights(cross: Any, x: Stream, states: Any, mask: Any) -> Float[Array, "B T S"]:
    return cross.weights(x, states, mask)
