"""Decoder-only transformers: GPT-2.

Radford et al. 2019, "Language models are unsupervised multitask learners",
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.
The small settings are those of nanoGPT, https://github.com/karpathy/nanoGPT.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.cache import Index, KVCache, read_positions
from deeplab.nn.attention.masking import segment_positions
from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.nn.layout import rows
from deeplab.nn.remat import remat
from deeplab.nn.transformer import INIT, Block, FeedForward

RULES = (
    (r"token_embedding/embedding", P("model", None)),  # [V, D]
    (r"(qkv|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(qkv|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)


@ranges.checked(
    vocab_size=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    context=ranges.COUNT,
    dropout=ranges.RATE,
    attention_block=ranges.COUNT,
)
class GPT(nn.Module):
    """Tokens to the logits of the token after each of them.

    Token and position embeddings, `num_layers` pre-norm blocks, a last norm, and the token embedding once more, as the
    output layer. All weights start as N(0, 0.02^2); those that lead back to the residual stream are smaller by
    sqrt(2 num_layers), the number of branches it sums.

    Besides `__call__` there are the two methods of `deeplab.decode.protocol`: `start` and `step`.

    Args:
      vocab_size: V.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D, of the residual stream.
      context: Longest sequence, in tokens.
      dropout: Dropout probability in training: after the embeddings, on attention probabilities and on each branch; may
        be a tracer.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.
      attention_block: Number of queries processed at a time for long contexts, without dropout of probabilities; see
        `deeplab.nn.attention.dot_product.attend`.

    Raises:
      ValueError: A sequence longer than `context`.

    Example:
      >>> import jax
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))
      >>> logits.shape
      (2, 16, 65)
    """

    rules = RULES

    vocab_size: int
    num_layers: int = 12
    num_heads: int = 12
    width: int = 768
    context: int = 1024
    dropout: float = 0.0
    remat: str = "none"
    attention_block: int | None = None

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None = None,
        train: bool = False,
        cache: tuple[KVCache, ...] | None = None,
        cache_index: Index = 0,
    ) -> Any:
        """Logits [B, T, V]; with a cache, of the tokens from `cache_index` on, and the new cache: see `step`.

        With `segment_ids` (see `dl.data.Packed`) a row holds several documents: each is read as if it were alone.
        """
        B, T = tokens.shape
        if self.context < T:
            raise ValueError(f"sequences have {T} tokens, the model's context is {self.context}")
        embedding = nn.Embed(self.vocab_size, self.width, embedding_init=INIT, name="token_embedding")
        position_embedding = nn.Embed(self.context, self.width, embedding_init=INIT, name="position_embedding")
        if segment_ids is None:
            at = position_embedding(jnp.arange(T) if cache is None else read_positions(cache_index, T))
            x = embedding(tokens) + (at if at.ndim == 3 else at[None])
        else:
            x = embedding(tokens) + position_embedding(segment_positions(segment_ids))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        new_cache = []
        for i in range(self.num_layers):
            if cache is None:
                x = self._block(i)(x, train, segment_ids)
            else:
                x, layer_cache = self._block(i)(x, train, segment_ids, cache[i], cache_index)
                new_cache.append(layer_cache)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(rows(x))  # (B T) D, as in the blocks
        logits = embedding.attend(x).reshape(B, T, self.vocab_size)
        return logits if cache is None else (logits, tuple(new_cache))

    def start(self, batch_size: int, length: int, train: bool = False) -> tuple[tuple[KVCache, ...], None]:
        """An empty cache for `length` tokens of each example, and no memory."""
        dtype = self.get_variable("params", "token_embedding")["embedding"].dtype
        empty = KVCache.empty(batch_size, self.num_heads, length, self.width // self.num_heads, dtype=dtype)
        return (empty,) * self.num_layers, None

    def step(
        self,
        tokens: Int[Array, "B T"],
        cache: tuple[KVCache, ...],
        cache_index: Index,
        memory: None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B T V"], tuple[KVCache, ...]]:
        """Logits of the token after each of the T tokens from position `cache_index` on, and the new cache.

        Example (the third token, after two):
          >>> import functools, jax
          >>> model = GPT(vocab_size=65, **VARIANTS["test"])
          >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
          >>> step = jax.jit(functools.partial(model.apply, method="step"))
          >>> cache, _ = model.apply(variables, 1, 16, method="start")
          >>> _, cache = step(variables, jnp.array([[7, 8]]), cache, 0)
          >>> logits, cache = step(variables, jnp.array([[9]]), cache, 2)
        """
        return self(tokens, train=train, cache=cache, cache_index=cache_index)

    def _block(self, i: int) -> nn.Module:
        out_init = nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5)
        attention = SelfAttention(
            self.num_heads, self.dropout, INIT, out_init, causal=True, block=self.attention_block, parent=None
        )
        feed_forward = FeedForward(out_init=out_init, parent=None)
        return remat(Block, self.remat)(attention, feed_forward, self.dropout, name=f"block{i + 1}")


# Radford et al. 2019, table 2; "nano" and "nano_cpu" are nanoGPT's two settings for characters.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 32, "context": 16},
    "nano_cpu": {"num_layers": 4, "num_heads": 4, "width": 128, "context": 64},
    "nano": {"num_layers": 6, "num_heads": 6, "width": 384, "context": 256},
    "small": {"num_layers": 12, "num_heads": 12, "width": 768, "context": 1024},
    "medium": {"num_layers": 24, "num_heads": 16, "width": 1024, "context": 1024},
    "large": {"num_layers": 36, "num_heads": 20, "width": 1280, "context": 1024},
    "xl": {"num_layers": 48, "num_heads": 25, "width": 1600, "context": 1024},
}
