"""The sizes that all decoders have, and layers of several kinds as few stacks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from deeplab.core import ranges
from deeplab.models.text.decoder import Stack
from deeplab.nn.attention.grouped import GroupedQueryAttention
from deeplab.nn.transformer import INIT
from deeplab.nn.vocabulary import TokenEmbedding
from deeplab.nn.wiring import Period


@dataclasses.dataclass(frozen=True)
@ranges.checked(
    vocab_size=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    hidden=ranges.COUNT,
    context=ranges.COUNT,
    num_kv_heads=ranges.COUNT,
    head_dim=ranges.COUNT,
    epsilon=ranges.POSITIVE,
    attention_block=ranges.COUNT,
)
class Sizes:
    """What the decoders of all families are made of; their functions take these as keyword arguments.

    Args:
      vocab_size: V.
      num_layers: L.
      num_heads: H, heads of queries.
      width: D, of the residual stream.
      hidden: Units of the feed-forward layers.
      context: Longest sequence, in tokens.
      num_kv_heads: K, heads of keys and values; H when None.
      head_dim: Width of a head; D / H when None.
      epsilon: Number added to the variance in norms.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.
      attention_block: Number of positions processed at a time for long contexts; see
        `deeplab.nn.attention.dot_product.attend`.
    """

    vocab_size: int
    num_layers: int
    num_heads: int
    width: int
    hidden: int
    context: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    epsilon: float = 1e-5
    remat: str = "none"
    attention_block: int | None = None

    def attention(self, **parts: Any) -> nn.Module:
        """An attention of these sizes and other parts."""
        return GroupedQueryAttention(
            self.num_heads, self.num_kv_heads or self.num_heads, self.dim, kernel_init=INIT, out_init=self.out_init,
            block=self.attention_block, **parts,
        )  # fmt: skip

    def embedding(self, **parts: Any) -> nn.Module:
        """A token embedding of these sizes and other parts."""
        return TokenEmbedding(self.vocab_size, self.width, **parts)

    @property
    def dim(self) -> int:
        """Width of a head."""
        return self.head_dim or self.width // self.num_heads

    @property
    def out_init(self) -> nn.initializers.Initializer:
        """N(0, 0.02^2 / (2 L)), for kernels that lead back to the residual stream (Radford et al. 2019)."""
        return _normal(0.02 / (2 * self.num_layers) ** 0.5)


@functools.cache
def _normal(deviation: float) -> nn.initializers.Initializer:
    """One function for each deviation, so that models of equal sizes are equal, and compiled once."""
    return nn.initializers.normal(deviation)


class Span(NamedTuple):
    """Layers start, start + 1, ... of which `kinds` repeat.

    Attributes:
      name: Name of the stack.
      kinds: Kinds of a period.
      length: Number of periods.
      start: Number of the first layer.
    """

    name: str
    kinds: tuple[Any, ...]
    length: int
    start: int

    @property
    def layers(self) -> Iterator[tuple[str, Any, range]]:
        """For each layer of a period: the path of its block, its kind, and the numbers of the layers that it is."""
        period = len(self.kinds)
        for j, kind in enumerate(self.kinds):
            path = self.name if period == 1 else f"{self.name}/layers_{j}"
            yield path, kind, range(self.start + j, self.start + period * self.length, period)


def spans(kinds: Sequence[Any]) -> tuple[Span, ...]:
    """Layers of these kinds as few stacks: each the longest repetition from where the one before ends.

    Example:
      >>> [(span.name, "".join(span.kinds), span.length) for span in spans("aab" * 3 + "aa")]
      [('blocks1', 'aab', 3), ('blocks2', 'a', 2)]
    """
    found, start, size = [], 0, len(kinds)
    while start < size:
        best = 1, 1
        for period in range(1, (size - start) // 2 + 1):
            times = 1
            while kinds[start : start + period] == kinds[start + times * period : start + (times + 1) * period]:
                times += 1
            if times > 1 and times * period > best[0] * best[1]:
                best = times, period
        found.append((tuple(kinds[start : start + best[1]]), best[0], start))
        start += best[0] * best[1]
    names = ["blocks"] if len(found) == 1 else [f"blocks{n}" for n in range(1, len(found) + 1)]
    return tuple(Span(name, *span) for name, span in zip(names, found, strict=True))


def stacks(kinds: Sequence[Any], block: Callable[[Any], nn.Module]) -> tuple[Stack, ...]:
    """Stacks of layers of these kinds, from a function that makes a new block of a kind."""

    def body(span: Span) -> nn.Module:
        blocks = tuple(block(kind) for kind in span.kinds)
        return blocks[0] if len(blocks) == 1 else Period(blocks)

    return tuple(Stack(body(span), span.length, span.name) for span in spans(kinds))
