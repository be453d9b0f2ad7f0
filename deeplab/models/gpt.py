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

from deeplab.nn.attention import CausalSelfAttention

RULES = (
    (r"token_embedding/embedding", P("model", None)),  # [V, D]
    (r"(qkv|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(qkv|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)

_INIT = nn.initializers.normal(0.02)


class FeedForward(nn.Module):
    """D -> 4 D -> D with a GELU between (its tanh form, as in GPT-2).

    Example:
      >>> FeedForward().init_with_output(jax.random.key(0), jnp.ones((1, 2, 8)))[0].shape
      (1, 2, 8)
    """

    expansion: int = 4
    out_init: jax.nn.initializers.Initializer = _INIT

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        hidden = nn.Dense(self.expansion * x.shape[-1], kernel_init=_INIT, name="up")(x)
        return nn.Dense(x.shape[-1], kernel_init=self.out_init, name="down")(nn.gelu(hidden))


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), with dropout on both branches.

    The residual stream is summed as [(B T), D]. As [B, T, D], XLA's CPU compiler recomputes, for each weight gradient,
    the whole chain of residual gradients above it: 137 instead of 73 ms of CPU time for the gradient of 4 layers of
    128, 12 x 64 tokens. Between blocks the two reshapes cancel.

    Args:
      attention: self-attention, with the arguments of `CausalSelfAttention.__call__`.
      feed_forward: position by position.
      dropout: probability that a branch's output is dropped in training; may be a tracer.
    """

    attention: nn.Module
    feed_forward: nn.Module
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], train: bool = False, position: int | jax.Array | None = None
    ) -> Float[Array, "B T D"]:
        shape = x.shape
        x = x.reshape(-1, shape[-1])  # B T D -> (B T) D
        y = self.attention(nn.LayerNorm(epsilon=1e-5, name="norm1")(x).reshape(shape), train, position)
        y = nn.Dropout(self.dropout, deterministic=not train, name="dropout1")(y)
        x = x + y.reshape(x.shape)
        y = self.feed_forward(nn.LayerNorm(epsilon=1e-5, name="norm2")(x).reshape(shape))
        y = nn.Dropout(self.dropout, deterministic=not train, name="dropout2")(y)
        return (x + y.reshape(x.shape)).reshape(shape)


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

    Raises:
      ValueError: a sequence longer than `context`.

    Example:
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> logits, _ = model.init_with_output(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))
      >>> logits.shape
      (2, 16, 65)
    """

    vocab_size: int
    num_layers: int = 12
    num_heads: int = 12
    width: int = 768
    context: int = 1024
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "B T"], train: bool = False, position: int | jax.Array | None = None
    ) -> Float[Array, "B T V"]:
        """The whole sequence at once; or, with `position`, its part from there on, by way of the collection "cache".

        Example (the third token, after two):
          >>> model = GPT(vocab_size=65, **VARIANTS["test"])
          >>> params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
          >>> _, cache = model.apply({"params": params}, jnp.array([[7, 8]]), position=0, mutable=["cache"])
          >>> logits, cache = model.apply({"params": params} | cache, jnp.array([[9]]), position=2, mutable=["cache"])
        """
        B, T = tokens.shape
        if self.context < T:
            raise ValueError(f"sequences have {T} tokens, the model's context is {self.context}")
        embedding = nn.Embed(self.vocab_size, self.width, embedding_init=_INIT, name="token_embedding")
        places = nn.Embed(self.context, self.width, embedding_init=_INIT, name="position_embedding")
        x = embedding(tokens) + places((0 if position is None else position) + jnp.arange(T))[None]
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        for i in range(self.num_layers):
            x = self._block(i)(x, train, position)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x.reshape(-1, self.width))  # (B T) D, as in the blocks
        return embedding.attend(x).reshape(B, T, self.vocab_size)

    def _block(self, i: int) -> nn.Module:
        out_init = nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5)
        attention = CausalSelfAttention(
            self.num_heads, self.context, self.dropout, kernel_init=_INIT, out_init=out_init, parent=None
        )
        feed_forward = FeedForward(out_init=out_init, parent=None)
        return Block(attention, feed_forward, self.dropout, name=f"block{i + 1}")


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
