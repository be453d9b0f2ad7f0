"""Layers of several kinds as few stacks, each of which is compiled as one layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from deeplab.core.errors import UserError
from deeplab.nn.attention.cache import Reading
from deeplab.nn.parts.wiring import Stream
from deeplab.nn.remat import remat


class Period(nn.Module):
    """Blocks of several kinds, one after another: what repeats where layers alternate.

    Args:
      layers: Blocks of `deeplab.nn.parts.wiring`; their caches are a tuple.

    Example:
      >>> import jax.numpy as jnp
      >>> from deeplab.nn.parts.wiring import Residual
      >>> layers = tuple(Residual(lambda x, *_, n=n: n * x, lambda x: x) for n in (1, 2))
      >>> Period(layers).apply({}, jnp.ones((1, 1, 1)), False, None, None)[0].item()  # 1 + 1, and 2 + 2 * 2
      6.0
    """

    layers: tuple[nn.Module, ...]

    def __call__(self, x: Stream, train: bool, reading: Reading, cache: Any) -> tuple[Stream, Any]:
        caches = []
        for i, layer in enumerate(self.layers):
            x, new = layer(x, train, reading, None if cache is None else cache[i])
            caches.append(new)
        return x, None if cache is None else tuple(caches)

    def empty_cache(self, *sizes: Any) -> tuple[Any, ...]:
        return tuple(_empty_cache(layer, *sizes) for layer in self.layers)


@dataclasses.dataclass(frozen=True)
class Stack:
    """Layers that are equal but for their parameters, [L, ...].

    Args:
      block: Block of `deeplab.nn.parts.wiring`; a `Period` where layers alternate.
      length: L, number of times that it is applied; None for one layer without a loop, whose parameters and cache have
        no axis of layers.
      name: Name of its parameters.

    Example:
      >>> import jax.numpy as jnp
      >>> from deeplab.nn.parts.wiring import Residual
      >>> stack = Stack(Residual(lambda x, *_: x, lambda x: x), length=3)
      >>> stacked(stack).apply({}, jnp.ones((1, 1, 1)), False, None, None)[0].item()  # 1 + 1, 2 + 2, 4 + 4
      8.0
    """

    block: nn.Module
    length: int | None
    name: str = "blocks"


def stacked(stack: Stack, policy: str = "none") -> nn.Module:
    """The layers of a stack as one module, to be called within a module's method: its block under `nn.scan`.

    Args:
      stack: Stack.
      policy: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> import jax.numpy as jnp
      >>> from deeplab.nn.parts.wiring import Residual
      >>> layers = stacked(Stack(Residual(lambda x, *_: x, nn.RMSNorm()), length=3))
      >>> variables = layers.init(jax.random.key(0), jnp.ones((1, 1, 8)), False, None, None)
      >>> variables["params"]["norm"]["scale"].shape
      (3, 8)
    """
    kind = remat(type(stack.block), policy)
    parts = {f.name: getattr(stack.block, f.name) for f in dataclasses.fields(stack.block)}
    del parts["parent"], parts["name"]
    if stack.length is None:
        return kind(**parts, name=stack.name)
    axes = {
        "variable_axes": {"params": 0, "intermediates": 0, "perturbations": 0},
        "split_rngs": {"params": True, "dropout": True},
        "out_axes": 1,  # of the cache: the batch stays its first axis, the layers are its second
        "length": stack.length,
    }
    methods: Any = {"__call__": {**axes, "in_axes": (nn.broadcast, nn.broadcast, 1)}}
    if hasattr(stack.block, "read"):  # of blocks that attend to a memory
        methods["read"] = {**axes, "in_axes": nn.broadcast}
    return nn.scan(kind, methods=methods)(**parts, name=stack.name)


def empty(stack: Stack, batch_size: int, length: int, width: int, dtype: Any) -> Any:
    """The cache of a stack for `length` tokens of each example; see `GroupedQueryAttention.empty_cache`.

    Example:
      >>> from deeplab.nn.attention.grouped import GroupedQueryAttention
      >>> from deeplab.nn.parts.wiring import Residual
      >>> stack = Stack(Residual(GroupedQueryAttention(num_heads=4, num_kv_heads=2), nn.LayerNorm()), length=3)
      >>> empty(stack, batch_size=1, length=16, width=32, dtype="float32").key.shape
      (1, 3, 2, 16, 8)
    """
    cache = _empty_cache(stack.block, batch_size, length, width, stack.length or 1, dtype)
    return cache if stack.length else jax.tree.map(lambda leaf: leaf[:, 0], cache)


def _empty_cache(block: nn.Module, *sizes: Any) -> Any:
    """The cache of a block; see `GroupedQueryAttention.empty_cache`."""
    source: Any = block if hasattr(block, "empty_cache") else getattr(block, "attention", None)
    if not hasattr(source, "empty_cache"):
        raise UserError(
            f"a {type(block).__name__} tells no cache, so that it cannot write token by token; give it a field "
            "`attention` that has empty_cache, such as GroupedQueryAttention, or a method "
            "empty_cache(batch_size, length, width, num_layers, dtype) of its own"
        )
    return source.empty_cache(*sizes)


def check_caches(stacks: Sequence[Stack], given: Sequence[Any], new: Sequence[Any]) -> None:
    """Checks that the blocks gave back the caches that they were given, changed; when traced, not when run.

    Raises:
      UserError: One gave none, or another one, so that it would read no token but the last.

    Example:
      >>> import jax.numpy as jnp
      >>> try:
      ...     check_caches([Stack(nn.Dense(2), length=3)], [jnp.zeros(3)], [None])
      ... except UserError as error:
      ...     print(error)
      the Dense of 'blocks' was given a cache and gave none or another; expected (x, cache), with the cache of attention
    """
    for stack, old, found in zip(stacks, given, new, strict=True):
        if jax.tree.structure(old) != jax.tree.structure(found):
            raise UserError(
                f"the {type(stack.block).__name__} of {stack.name!r} was given a cache and gave none or another; "
                "expected (x, cache), with the cache of attention"
            )


class Span(NamedTuple):
    """Layers start, start + 1, ... of which `kinds` repeat.

    Attributes:
      name: Name of the stack.
      kinds: Kinds of a period.
      length: Number of periods.
      start: Number of the first layer.

    Example:
      >>> [(path, kind, list(layers)) for path, kind, layers in spans(["local", "global"] * 2)[0].layers]
      [('blocks/layers_0', 'local', [0, 2]), ('blocks/layers_1', 'global', [1, 3])]
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
    """Stacks of layers of these kinds, from a function that makes a new block of a kind.

    Example:
      >>> [(stack.name, stack.length, stack.block.features) for stack in stacks([8, 8, 8, 4], nn.Dense)]
      [('blocks1', 3, 8), ('blocks2', 1, 4)]
    """

    def body(span: Span) -> nn.Module:
        blocks = tuple(block(kind) for kind in span.kinds)
        return blocks[0] if len(blocks) == 1 else Period(blocks)

    return tuple(Stack(body(span), span.length, span.name) for span in spans(kinds))


def one_by_one(kinds: Sequence[Any], block: Callable[[Any], nn.Module]) -> tuple[Stack, ...]:
    """The same layers without loops, "block1", "block2", ...

    They compile in time that grows with their number. On a CPU a loop stores what the gradient needs in arrays of all
    layers, and reads it from there: 4 layers of 128, 12 x 64 tokens take 1.6 times as long in one.

    Example:
      >>> [(stack.name, stack.length, stack.block.features) for stack in one_by_one([8, 8, 4], nn.Dense)]
      [('block1', None, 8), ('block2', None, 8), ('block3', None, 4)]
    """
    return tuple(Stack(block(kind), None, f"block{i}") for i, kind in enumerate(kinds, 1))
