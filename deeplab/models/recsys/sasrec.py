"""Self-attentive sequential recommendation.

Kang and McAuley 2018, https://arxiv.org/abs/1808.09781. Its blocks are those of `text.decoders.gpt`, with the norms
before both branches.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.nn.embedding import Embedding
from deeplab.nn.remat import remat
from deeplab.nn.retrieval import Candidates, dot_scores, gather_positions
from deeplab.nn.transformer import INIT, Block, FeedForward

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 1, "num_heads": 2, "width": 8, "context": 6},
    # Kang and McAuley 2018, section 4.4: two blocks of one head, width 50; 200 items for MovieLens, 50 for the others.
    "movielens": {"num_layers": 2, "num_heads": 1, "width": 50, "context": 200},
    "sparse": {"num_layers": 2, "num_heads": 1, "width": 50, "context": 50},
}

RULES = (
    (r"item/embedding", P("model", None)),  # [V, D], rows padded
    (r"(qkv|up)/kernel", P(None, "model")),
    (r"(qkv|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)


@ranges.checked(
    num_items=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    context=ranges.COUNT,
    dropout=ranges.RATE,
)
class SASRec(nn.Module):
    """score = x_t . e_i, with x_t the output of a causal transformer for the items e_1, ..., e_t of a user.

    Items and positions are embedded, and the items' vectors serve as the output layer too. Sequences begin at position
    0 and are padded by item 0, so that the causal mask hides all padding from the positions that count.

    Args:
      num_items: V, with item 0.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D.
      context: Longest sequence, in items.
      dropout: Dropout probability in training: after the embeddings, on attention probabilities and on each branch; may
        be a tracer.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Raises:
      ValueError: A sequence longer than `context`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = SASRec(num_items=7, **VARIANTS["test"])
      >>> history, positions, candidates = jnp.array([[3, 1, 0, 0, 0, 0]]), jnp.array([[1]]), jnp.arange(7)
      >>> (scores,), _ = jax.jit(model.init_with_output)(jax.random.key(0), history, positions, candidates)
      >>> scores.shape
      (1, 1, 7)
    """

    rules = RULES

    num_items: int
    num_layers: int = 2
    num_heads: int = 2
    width: int = 64
    context: int = 200
    dropout: float = 0.0
    remat: str = "none"

    @nn.compact
    def __call__(
        self, history: Int[Array, "B T"], positions: Int[Array, "B P"], *candidates: Candidates, train: bool = False
    ) -> tuple[Float[Array, "B P C"], ...]:
        """For each set of candidates, their scores [B, P, C] each, at `positions` of the histories."""
        T = history.shape[1]
        if self.context < T:
            raise ValueError(f"sequences have {T} items, the model's context is {self.context}")
        items = Embedding(self.num_items, self.width, INIT, name="item")
        position_embedding = self.param("position", INIT, (self.context, self.width))
        x = items(history) * self.width**0.5 + position_embedding[None, :T]
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        for i in range(self.num_layers):
            attention = SelfAttention(self.num_heads, self.dropout, causal=True, parent=None)
            block = remat(Block, self.remat)
            x = block(attention, FeedForward(parent=None), self.dropout, name=f"block{i + 1}")(x, train)
        query = gather_positions(nn.LayerNorm(epsilon=1e-5, name="norm")(x), positions)
        return tuple(dot_scores(query, items(chosen)) for chosen in candidates)
