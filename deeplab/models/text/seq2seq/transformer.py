"""Transformers from one sequence to another.

Vaswani et al. 2017, "Attention is all you need", https://arxiv.org/abs/1706.03762, with the norms before the branches
(Xiong et al. 2020, https://arxiv.org/abs/2002.04745) and GELUs.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.cache import Index, KVCache, read_positions
from deeplab.nn.attention.dot_product import attend, attention_weights
from deeplab.nn.attention.masking import same_segment_mask, segment_positions
from deeplab.nn.attention.self_attention import SelfAttention, join_heads, split_heads
from deeplab.nn.layout import rows
from deeplab.nn.remat import remat
from deeplab.nn.transformer import Block, FeedForward, sinusoids

RULES = (
    (r"tokens/embedding", P("model", None)),  # [V, D]
    (r"(qkv|query|key_value|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(qkv|query|key_value|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)

_KERNEL = nn.initializers.xavier_uniform()


@ranges.checked(width=ranges.COUNT, num_heads=ranges.COUNT, expansion=ranges.COUNT, dropout=ranges.RATE)
class _DecoderBlock(nn.Module):
    """x + self_attention(norm(x)), x + attention(norm(x), memory), x + feed_forward(norm(x)).

    As in `deeplab.nn.transformer.Block`, the residual stream is summed as [(B T), D].

    Args:
      width: D.
      num_heads: H, heads of either attention.
      expansion: Hidden units of the feed-forward layer, divided by D.
      dropout: Probability of dropping a component of a branch's output in training; may be a tracer.
    """

    width: int
    num_heads: int
    expansion: int
    dropout: float = 0.0

    def setup(self) -> None:
        D = self.width
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(epsilon=1e-5) for _ in range(3))
        self.qkv = nn.Dense(3 * D, kernel_init=_KERNEL)
        self.self_out = nn.Dense(D, kernel_init=_KERNEL)
        self.query = nn.Dense(D, kernel_init=_KERNEL)
        self.key_value = nn.Dense(2 * D, kernel_init=_KERNEL)
        self.memory_out = nn.Dense(D, kernel_init=_KERNEL)
        self.feed_forward = FeedForward(self.expansion, _KERNEL)
        self.drop = nn.Dropout(self.dropout)

    def read(self, encoded: Float[Array, "B S D"]) -> KVCache:
        """Keys and values of the encoder's output, the same for all steps of decoding."""
        key, value = split_heads(self.key_value(encoded), self.num_heads, 2)
        return KVCache(key, value)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        memory: KVCache,
        memory_mask: Bool[Array, "B 1 #T S"],
        train: bool = False,
        segment_ids: Int[Array, "B T"] | None = None,
        cache: KVCache | None = None,
        cache_index: Index = 0,
    ) -> tuple[Float[Array, "B T D"], KVCache | None, Float[Array, "B H T S"]]:
        """The new residual stream, the new cache, and the weights of the attention to the memory.

        Args:
          x: Residual stream.
          memory: Keys and values from `read`.
          memory_mask: True where a token may attend to a position of the memory.
          train: Whether to drop.
          segment_ids: Segment of each token, which attends within its own.
          cache: Keys and values of the tokens before `x`, to which those of `x` are added.
          cache_index: Position of the first token of `x`.
        """
        shape = x.shape
        x = rows(x)  # B T D -> (B T) D
        query, key, value = split_heads(self.qkv(self.norm1(x).reshape(shape)), self.num_heads, 3)
        if cache is not None:
            cache = cache.update(key, value, cache_index)
            key, value = cache.key.astype(key.dtype), cache.value.astype(value.dtype)
        offset = 0 if cache is None else cache_index
        y = attend(query, key, value, causal=True, segment_ids=segment_ids, offset=offset)
        y = self.self_out(join_heads(y))
        x = x + self.drop(y, deterministic=not train).reshape(x.shape)
        (query,) = split_heads(self.query(self.norm2(x).reshape(shape)), self.num_heads, 1)
        weights = attention_weights(query, memory.key, memory_mask)
        y = self.memory_out(join_heads(jnp.einsum("bhts,bhsd->bhtd", weights.astype(x.dtype), memory.value)))
        x = x + self.drop(y, deterministic=not train).reshape(x.shape)
        y = self.feed_forward(self.norm3(x).reshape(shape))
        x = x + self.drop(y, deterministic=not train).reshape(x.shape)
        return x.reshape(shape), cache, weights


@ranges.checked(
    vocab_size=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    expansion=ranges.COUNT,
    dropout=ranges.RATE,
)
class Transformer(nn.Module):
    """A source and the tokens of a target so far, to the logits of the target's next token at each position.

    An encoder and a decoder of `num_layers` blocks each. One table E [V, D] of N(0, 1 / D) serves both sides and the
    output: x = sqrt(D) E[token] + sinusoids(position), logits = norm(x) E^T. Sequences that share a row, as
    `deeplab.data.pair_rows` packs them, do not attend to one another, and padding changes nothing.

    Besides `__call__` there are the two methods of `deeplab.decode.protocol`, `start` and `step`; and `attention`.

    Args:
      vocab_size: V, of both languages.
      num_layers: Number of blocks of the encoder, and of the decoder.
      num_heads: Attention heads of each block.
      width: D, of the residual stream.
      expansion: Hidden units of the feed-forward layers, divided by D.
      dropout: Dropout probability in training, after the embeddings and on each branch; may be a tracer.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> model = Transformer(vocab_size=11, **VARIANTS["test"])
      >>> source, target = jnp.array([[3, 4, 2, 0]]), jnp.array([[1, 5, 6]])
      >>> inputs = (source, (source > 0).astype(int), target, (target > 0).astype(int))
      >>> model.init_with_output(jax.random.key(0), *inputs)[0].shape
      (1, 3, 11)
    """

    rules = RULES

    vocab_size: int
    num_layers: int = 6
    num_heads: int = 8
    width: int = 512
    expansion: int = 4
    dropout: float = 0.0
    remat: str = "none"

    def setup(self) -> None:
        init = nn.initializers.normal(self.width**-0.5)
        self.tokens = nn.Embed(self.vocab_size, self.width, embedding_init=init)
        self.encoder = [
            remat(Block, self.remat)(
                SelfAttention(self.num_heads, kernel_init=_KERNEL, out_init=_KERNEL, parent=None),
                FeedForward(self.expansion, _KERNEL, parent=None),
                self.dropout,
            )
            for _ in range(self.num_layers)
        ]
        self.decoder = [
            remat(_DecoderBlock, self.remat)(self.width, self.num_heads, self.expansion, self.dropout)
            for _ in range(self.num_layers)
        ]
        self.encoder_norm, self.norm = nn.LayerNorm(epsilon=1e-5), nn.LayerNorm(epsilon=1e-5)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        source: Int[Array, "B S"],
        source_segments: Int[Array, "B S"],
        target: Int[Array, "B T"],
        target_segments: Int[Array, "B T"],
        train: bool = False,
    ) -> Float[Array, "B T V"]:
        """Logits at each position of `target`, which holds the token before it; segment 0 is padding."""
        x, _ = self._decoded(source, source_segments, target, target_segments, train)
        return self._logits(x)

    def attention(
        self, source: Any, source_segments: Any, target: Any, target_segments: Any, train: bool = False
    ) -> Float[Array, "B T S"]:
        """Weights of the last block's attention to the source at each target position, averaged over its heads."""
        return jnp.mean(self._decoded(source, source_segments, target, target_segments, train)[1], axis=1)

    def start(
        self, source: Int[Array, "B S"], source_segments: Int[Array, "B S"], length: int, train: bool = False
    ) -> tuple[Any, Any]:
        """An empty cache for `length` tokens, and the memory of the sources, one a row."""
        memory = tuple(block.read(self._encoded(source, source_segments, train)) for block in self.decoder)
        sizes = len(source), self.num_heads, length, self.width // self.num_heads
        empty = KVCache.empty(*sizes, dtype=memory[0].key.dtype)
        return (empty,) * self.num_layers, (memory, source_segments)

    def step(
        self, tokens: Int[Array, "B T"], cache: Any, cache_index: Index, memory: Any, train: bool = False
    ) -> tuple[Float[Array, "B T V"], Any]:
        """Logits of the token after each of the T tokens from position `cache_index` on, and the new cache."""
        (key_values, source_segments), new_cache = memory, []
        x = self.width**0.5 * self.tokens(tokens)
        waves = sinusoids(read_positions(cache_index, tokens.shape[1]), self.width).astype(x.dtype)
        x = x + (waves if waves.ndim == 3 else waves[None])
        memory_mask = (source_segments > 0)[:, None, None, :]
        for block, key_value, layer_cache in zip(self.decoder, key_values, cache, strict=True):
            x, layer_cache, _ = block(x, key_value, memory_mask, train, None, layer_cache, cache_index)
            new_cache.append(layer_cache)
        return self._logits(x), tuple(new_cache)

    def _embedded(self, tokens: jax.Array, segments: jax.Array, train: bool) -> jax.Array:
        x = self.width**0.5 * self.tokens(tokens)
        waves = sinusoids(jnp.arange(tokens.shape[1]), self.width)[segment_positions(segments)]  # [B, T, D]
        return self.drop(x + waves.astype(x.dtype), deterministic=not train)

    def _encoded(self, source: jax.Array, segments: jax.Array, train: bool) -> jax.Array:
        x = self._embedded(source, segments, train)
        for block in self.encoder:
            x = block(x, train, segments)
        return self.encoder_norm(x)

    def _decoded(
        self, source: jax.Array, source_segments: jax.Array, target: jax.Array, target_segments: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        memory = self._encoded(source, source_segments, train)
        x, weights = self._embedded(target, target_segments, train), jnp.zeros(())
        memory_mask = same_segment_mask(target_segments, source_segments)
        for block in self.decoder:
            x, _, weights = block(x, block.read(memory), memory_mask, train, target_segments)
        return x, weights

    def _logits(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        x_rows = self.norm(rows(x))  # (B T) D, as in the blocks
        return self.tokens.attend(x_rows).reshape(*x.shape[:2], self.vocab_size)


VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 16, "expansion": 2},
    # Wu et al. 2021, https://aclanthology.org/2021.acl-long.480, table 1: for Multi30k.
    "tiny": {"num_layers": 4, "num_heads": 4, "width": 128, "expansion": 2},
    # Vaswani et al. 2017, table 3.
    "base": {"num_layers": 6, "num_heads": 8, "width": 512},
    "big": {"num_layers": 6, "num_heads": 16, "width": 1024},
}
