"""A transformer that reads a text with gaps, from both sides.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, with the norms before the branches.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.nn.transformer import INIT, Block, FeedForward

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 16, "context": 16},
    "nano_cpu": {"num_layers": 4, "num_heads": 4, "width": 128, "context": 64},
    # Sahoo et al. 2024, section 5: as GPT-2 "small".
    "small": {"num_layers": 12, "num_heads": 12, "width": 768, "context": 1024},
}

RULES = (
    (r"(qkv|up)/kernel", P(None, "model")),
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
)
class GapTransformer(nn.Module):
    """Tokens, some of which are V for "hidden", to the logits of each.

    Args:
      vocab_size: V.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D.
      context: Longest sequence, in tokens.
      dropout: Dropout probability in training; may be a tracer.

    Example:
      >>> import jax
      >>> model = GapTransformer(vocab_size=7, **VARIANTS["test"])
      >>> jax.jit(model.init_with_output)(jax.random.key(0), jnp.zeros((2, 16), int))[0].shape
      (2, 16, 7)
    """

    rules = RULES

    vocab_size: int
    num_layers: int = 4
    num_heads: int = 4
    width: int = 128
    context: int = 64
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Int[Array, "B T"], train: bool = False) -> Float[Array, "B T V"]:
        embed = nn.Embed(self.vocab_size + 1, self.width, embedding_init=INIT, name="tokens")
        positions = nn.Embed(self.context, self.width, embedding_init=INIT, name="positions")
        x = embed(tokens) + positions(jnp.arange(tokens.shape[1]))[None]
        for i in range(self.num_layers):
            attention = SelfAttention(self.num_heads, self.dropout, INIT, INIT, parent=None)
            x = Block(attention, FeedForward(parent=None), self.dropout, name=f"block{i + 1}")(x, train)
        return nn.Dense(self.vocab_size, name="head")(nn.LayerNorm(epsilon=1e-5, name="norm")(x))
