"""One encoder-decoder of transformers, composed of parts, of which the families are tables: from text, from sound."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.models.encoder import RULES as LAYERS
from deeplab.models.encoder import TransformerEncoder
from deeplab.nn.attention.cache import Index, Memory, Reading, read_positions
from deeplab.nn.attention.masking import same_segment_mask, segment_positions
from deeplab.nn.parts.crossing import Look
from deeplab.nn.parts.stack import Stack, check_caches, empty, stacked
from deeplab.nn.parts.vocabulary import TokenEmbedding
from deeplab.nn.parts.wiring import dropped

HEAD = (r"head/kernel", P(None, "model"))  # [D, V]
RULES = ((r"tokens/embedding", P("model", None)), *LAYERS)  # [V, D]


@ranges.checked(context=ranges.COUNT)
class EncoderDecoder(nn.Module):
    """A source and the tokens of a target so far, to the logits of the target's next token at each position.

    Besides `__call__` there are the two methods of `deeplab.decode.protocol`: `start`, which computes each layer's keys
    and values of the memory once, and `step`; and `attention`.

    Args:
      tokens: Table of tokens. The encoder and `target` share it where it is the same value there.
      encoder: Encoder whose head gives an `Encoded`.
      target: Module from tokens and positions to the residual stream.
      stacks: Layers of the decoder, of blocks of `deeplab.nn.parts.crossing`.
      norm: Norm after the last layer, if any.
      head: Module from the residual stream and `tokens` to logits.
      context: Longest target, in tokens; any when None.
      bias: Module from positions and the number of keys to what all layers of the decoder add to their scores, if any.
      drop: Dropout of the target's stream before the first layer, if any.
      rules: Sharding of the parameters.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Raises:
      ValueError: A target longer than `context`.

    Example:
      >>> from deeplab.models.text.seq2seq import t5
      >>> model = t5.T5(vocab_size=11, **t5.VARIANTS["test"])
      >>> source, target = jnp.array([[3, 4, 2, 0]]), jnp.array([[0, 5, 6]])
      >>> model.init_with_output(jax.random.key(0), source, source > 0, target)[0].shape
      (1, 3, 11)
    """

    tokens: TokenEmbedding
    encoder: TransformerEncoder
    target: nn.Module
    stacks: tuple[Stack, ...]
    norm: nn.Module | None
    head: nn.Module
    context: int | None
    bias: nn.Module | None = None
    drop: nn.Dropout | None = None
    rules: tuple[tuple[str, P], ...] = RULES
    remat: str = "none"

    def setup(self) -> None:
        self.layers = tuple(stacked(stack, self.remat) for stack in self.stacks)

    def __call__(
        self,
        source: Any,
        source_segments: Int[Array, "B S"] | None,
        target: Int[Array, "B T"],
        target_segments: Int[Array, "B T"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B T V"]:
        """Logits at each position of `target`, which holds the token before it.

        Args:
          source: What the encoder reads.
          source_segments: 1 where a position of the source is no padding, 0 where it is; what the encoder knows of it
            when None.
          target: Tokens.
          target_segments: The same of the target, without padding when None. A target token attends to the positions of
            the source that have its number.
          train: Whether to drop.
        """
        reading = self._reading(source, source_segments, target, target_segments, train)
        return self._logits(*self._decoded(target, reading, (None,) * len(self.stacks), train))[0]

    def attention(
        self, source: Any, source_segments: Any, target: Any, target_segments: Any = None, train: bool = False
    ) -> Float[Array, "B T S"]:
        """Weights of the last layer's attention to the source at each target position, averaged over its heads."""
        reading = self._reading(source, source_segments, target, target_segments, train)
        return self._decoded(target, reading, (Look(),) * len(self.stacks), train)[1][-1][:, -1]

    def start(
        self, source: Any, source_segments: Int[Array, "B S"] | None, length: int, train: bool = False
    ) -> tuple[Any, Any]:
        """An empty cache for `length` tokens, and the memory of the sources, one a row."""
        states, mask = self._encoded(source, source_segments, train)
        memory = tuple(layers.read(None, states)[1] for layers in self.layers)
        sizes, dtype = (len(states), length, self.tokens.width), self.tokens.embedding.dtype
        cache = tuple(empty(s, *sizes, dtype) for s in self.stacks)
        return cache, (memory, mask)

    def step(
        self, tokens: Int[Array, "B T"], cache: Any, cache_index: Index, memory: Any, train: bool = False
    ) -> tuple[Float[Array, "B T V"], Any]:
        """Logits of the token after each of the T tokens from position `cache_index` on, and the new cache."""
        each, mask = memory
        positions = read_positions(cache_index, tokens.shape[1])
        length = jax.tree.leaves(cache)[0].shape[-2]
        bias = None if self.bias is None else self.bias(positions, length)
        reading = Reading(
            positions, cache_index, None, bias, Memory(None, None if mask is None else mask[:, None, None])
        )
        x, new = self._decoded(tokens, reading, tuple(zip(cache, each, strict=True)), train)
        check_caches(self.stacks, cache, new)
        return self._logits(x, new)

    def _encoded(self, source: Any, segments: Any, train: bool) -> tuple[jax.Array, Any]:
        encoded = self.encoder(source, segments, train=train)
        return encoded.states, encoded.mask

    def _reading(self, source: Any, source_segments: Any, target: Any, target_segments: Any, train: bool) -> Reading:
        """Where the tokens of whole targets stand, and what they read."""
        T = target.shape[1]
        states, mask = self._encoded(source, source_segments, train)
        positions, seen = jnp.arange(T), None if mask is None else mask[:, None, None]
        if target_segments is not None:
            target_segments = jnp.asarray(target_segments, jnp.int32)
            positions = segment_positions(target_segments)
            if source_segments is not None:
                seen = same_segment_mask(target_segments, source_segments)
        bias = None if self.bias is None else self.bias(jnp.arange(T), T)
        return Reading(positions, 0, target_segments, bias, Memory(states, seen))

    def _decoded(self, tokens: jax.Array, reading: Reading, caches: Any, train: bool) -> tuple[jax.Array, Any]:
        if self.context is not None and self.context < tokens.shape[1]:
            raise ValueError(f"targets have {tokens.shape[1]} tokens, the model's context is {self.context}")
        x, new = dropped(self.drop, self.target(tokens, reading.positions), train), []
        for layers, cache in zip(self.layers, caches, strict=True):
            x, cache = layers(x, train, reading, cache)
            new.append(cache)
        return x, tuple(new)

    def _logits(self, x: jax.Array, caches: Any) -> tuple[jax.Array, Any]:
        return self.head(x if self.norm is None else self.norm(x), self.tokens), caches
