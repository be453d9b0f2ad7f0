"""Decoder-only transformers: GPT-2.

Radford et al. 2019, "Language models are unsupervised multitask learners",
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.
The small settings are those of nanoGPT, https://github.com/karpathy/nanoGPT.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.nn.attention.dot_product import CausalSelfAttention
from deeplab.nn.attention.masking import places
from deeplab.nn.layout import rows
from deeplab.nn.remat import remat
from deeplab.nn.transformer import INIT, Block, FeedForward

RULES = (
    (r"token_embedding/embedding", P("model", None)),  # [V, D]
    (r"(qkv|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(qkv|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)


class GPT(nn.Module):
    """Tokens to the logits of the token after each of them.

    Token and position embeddings, `num_layers` pre-norm blocks, a last norm, and the token embedding once more, as the
    output layer. All weights start as N(0, 0.02^2); those that lead back to the residual stream are smaller by
    sqrt(2 num_layers), the number of branches it sums.

    Args:
      vocab_size: V.
      num_layers: blocks.
      num_heads: attention heads of each.
      width: D, of the residual stream.
      context: the longest sequence, in tokens.
      dropout: in training, after the embeddings, on attention probabilities and on each branch; may be a tracer.
      remat: what a block keeps for its gradient; see `deeplab.nn.remat`.
      attention_block: queries that attend at a time, for long contexts, of which no probability is dropped then; see
        `attend_in_blocks`.

    Raises:
      ValueError: a sequence longer than `context`.

    Example:
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
        segments: Int[Array, "B T"] | None = None,
        train: bool = False,
        position: int | jax.Array | None = None,
    ) -> Float[Array, "B T V"]:
        """The whole sequence at once; or, with `position`, its part from there on, by way of the collection "cache".

        With `segments` (see `dl.data.Packed`) a row holds several documents: each is read as if it were alone.

        Example (the third token, after two):
          >>> model = GPT(vocab_size=65, **VARIANTS["test"])
          >>> params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
          >>> apply = jax.jit(model.apply, static_argnames="mutable")
          >>> _, cache = apply({"params": params}, jnp.array([[7, 8]]), position=0, mutable="cache")
          >>> logits, cache = apply({"params": params} | cache, jnp.array([[9]]), position=2, mutable="cache")
        """
        B, T = tokens.shape
        if self.context < T:
            raise ValueError(f"sequences have {T} tokens, the model's context is {self.context}")
        embedding = nn.Embed(self.vocab_size, self.width, embedding_init=INIT, name="token_embedding")
        positions = nn.Embed(self.context, self.width, embedding_init=INIT, name="position_embedding")
        if segments is None:
            x = embedding(tokens) + positions((0 if position is None else position) + jnp.arange(T))[None]
        else:
            x = embedding(tokens) + positions(places(segments))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        for i in range(self.num_layers):
            x = self._block(i)(x, train, position if segments is None else segments)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(rows(x))  # (B T) D, as in the blocks
        return embedding.attend(x).reshape(B, T, self.vocab_size)

    def _block(self, i: int) -> nn.Module:
        out_init = nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5)
        attention = CausalSelfAttention(
            self.num_heads, self.context, self.dropout, INIT, out_init, self.attention_block, parent=None
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
