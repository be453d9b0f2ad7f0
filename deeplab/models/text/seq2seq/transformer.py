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

from deeplab.nn.attention.dot_product import (
    SelfAttention,
    attend,
    attention_weights,
    causal_mask,
    join_heads,
    split_heads,
)
from deeplab.nn.attention.masking import places, together
from deeplab.nn.layout import rows
from deeplab.nn.remat import remat
from deeplab.nn.transformer import Block, FeedForward, sinusoids

RULES = (
    (r"tokens/embedding", P("model", None)),  # [V, D]
    (r"(qkv|query|key_value|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(qkv|query|key_value|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)

KeyValue = tuple[Float[Array, "B H T d"], Float[Array, "B H T d"]]
"""Of one layer's attention, ready to be compared with."""

_KERNEL = nn.initializers.xavier_uniform()


class DecoderBlock(nn.Module):
    """x + self_attention(norm(x)), x + attention(norm(x), memory), x + feed_forward(norm(x)).

    As in `deeplab.nn.transformer.Block`, the residual stream is summed as [(B T), D].

    Args:
      width: D.
      num_heads: H, of either attention.
      expansion: of the feed-forward layer.
      dropout: probability that a branch's output is dropped in training; may be a tracer.
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

    def read(self, memory: Float[Array, "B S D"]) -> KeyValue:
        """Keys and values of what the encoder made: the same for all steps of decoding."""
        key, value = split_heads(self.key_value(memory), self.num_heads, 2)
        return key, value

    def __call__(
        self,
        x: Float[Array, "B T D"],
        memory: KeyValue,
        masks: tuple[Bool[Array, "#B 1 T T"], Bool[Array, "B 1 #T S"]],
        train: bool = False,
        cache: KeyValue | None = None,
        position: int | jax.Array = 0,
    ) -> tuple[Float[Array, "B T D"], KeyValue, Float[Array, "B H T S"]]:
        """The new residual stream, the keys and values that this layer has seen, and where it has looked.

        Args:
          x: the residual stream.
          memory: of `read`.
          masks: what each place sees of its own sequence, and what of the memory.
          train: drops.
          cache: keys and values of the places before, which those of `x` are written to.
          position: of the first place of `x` in the cache.
        """
        shape = x.shape
        x = rows(x)  # B T D -> (B T) D
        query, key, value = split_heads(self.qkv(self.norm1(x).reshape(shape)), self.num_heads, 3)
        if cache is not None:
            key, value = (
                jax.lax.dynamic_update_slice(old, new, (0, 0, position, 0))
                for old, new in zip(cache, (key, value), strict=True)
            )
        y = self.self_out(join_heads(attend(query, key, value, masks[0])))
        x = x + self.drop(y, deterministic=not train).reshape(x.shape)
        (query,) = split_heads(self.query(self.norm2(x).reshape(shape)), self.num_heads, 1)
        weights = attention_weights(query, memory[0], masks[1])
        y = self.memory_out(join_heads(jnp.einsum("bhts,bhsd->bhtd", weights.astype(x.dtype), memory[1])))
        x = x + self.drop(y, deterministic=not train).reshape(x.shape)
        y = self.feed_forward(self.norm3(x).reshape(shape))
        x = x + self.drop(y, deterministic=not train).reshape(x.shape)
        return x.reshape(shape), (key, value), weights


class Transformer(nn.Module):
    """A source, and the tokens of a target so far, to the logits of the target's next token at each place.

    An encoder and a decoder of `num_layers` blocks each. One table E [V, D] of N(0, 1 / D) serves both sides and the
    output: x = sqrt(D) E[token] + sinusoids(place), logits = norm(x) E^T. Sequences that share a row, as
    `deeplab.data.pairs` puts them, do not see one another, and padding changes nothing.

    Besides `__call__` there are its parts, of which decoding is made: `start` and `decode`; and `attention`.

    Args:
      vocab_size: V, of both languages.
      num_layers: blocks of the encoder, and of the decoder.
      num_heads: attention heads of each.
      width: D, of the residual stream.
      expansion: hidden units of the feed-forward layers, times D.
      dropout: in training, after the embeddings and on each branch; may be a tracer.
      remat: what a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> model = Transformer(vocab_size=11, **VARIANTS["test"])
      >>> source, target = jnp.array([[3, 4, 2, 0]]), jnp.array([[1, 5, 6]])
      >>> given = (source, (source > 0).astype(int), target, (target > 0).astype(int))
      >>> model.init_with_output(jax.random.key(0), *given)[0].shape
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
            remat(DecoderBlock, self.remat)(self.width, self.num_heads, self.expansion, self.dropout)
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
        """`target` is what has been written before each place; segments number the sequences of a row, 0 is padding."""
        x, _ = self._decoded(source, source_segments, target, target_segments, train)
        return self._logits(x)

    def attention(
        self, source: Any, source_segments: Any, target: Any, target_segments: Any, train: bool = False
    ) -> Float[Array, "B T S"]:
        """Where the last block looks in the source before it writes each token: the mean over its heads."""
        return jnp.mean(self._decoded(source, source_segments, target, target_segments, train)[1], axis=1)

    def start(
        self, source: Int[Array, "B S"], source_segments: Int[Array, "B S"], length: int, train: bool = False
    ) -> tuple[Any, Any]:
        """What `decode` needs of one source a row: the memory, and an empty cache for `length` tokens; axis B first."""
        memory = [block.read(self._encoded(source, source_segments, train)) for block in self.decoder]
        shape = (len(source), self.num_heads, length, self.width // self.num_heads)
        empty = jnp.zeros(shape, memory[0][0].dtype)
        return (memory, source_segments), [(empty, empty)] * self.num_layers

    def decode(
        self, token: Int[Array, " B"], position: jax.Array, memory: Any, cache: Any, train: bool = False
    ) -> tuple[Float[Array, "B V"], Any]:
        """Logits of the token after `token`, which stands at place `position`; and the cache with it in."""
        (keys, source_segments), kept = memory, []
        x, waves = self.width**0.5 * self.tokens(token[:, None]), sinusoids(cache[0][0].shape[2], self.width)
        x = x + jax.lax.dynamic_slice_in_dim(waves, position, 1)[None].astype(x.dtype)
        masks = causal_mask(1, cache[0][0].shape[2], position)[None, None], (source_segments > 0)[:, None, None, :]
        for block, key_value, past in zip(self.decoder, keys, cache, strict=True):
            x, past, _ = block(x, key_value, masks, train, past, position)
            kept.append(past)
        return self._logits(x)[:, 0], kept

    def _embedded(self, tokens: jax.Array, segments: jax.Array, train: bool) -> jax.Array:
        x = self.width**0.5 * self.tokens(tokens)
        waves = sinusoids(tokens.shape[1], self.width)[places(segments)]  # [B, T, D]
        return self.drop(x + waves.astype(x.dtype), deterministic=not train)

    def _encoded(self, source: jax.Array, segments: jax.Array, train: bool) -> jax.Array:
        x, mask = self._embedded(source, segments, train), together(segments, segments)
        for block in self.encoder:
            x = block(x, train, mask)
        return self.encoder_norm(x)

    def _decoded(
        self, source: jax.Array, source_segments: jax.Array, target: jax.Array, target_segments: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        memory = self._encoded(source, source_segments, train)
        x, weights = self._embedded(target, target_segments, train), jnp.zeros(())
        T = target.shape[1]
        own = together(target_segments, target_segments) & causal_mask(T, T)[None, None]
        for block in self.decoder:
            x, _, weights = block(x, block.read(memory), (own, together(target_segments, source_segments)), train)
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
