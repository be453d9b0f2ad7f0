"""Transformer encoders for sentences.

Vaswani et al. 2017, "Attention is all you need", https://arxiv.org/abs/1706.03762, with the norms before the branches.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Integer

from deeplab.core import ranges
from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.nn.embedding import BagEmbedding
from deeplab.nn.pooling import masked_max
from deeplab.nn.remat import remat
from deeplab.nn.transformer import INIT, Block, FeedForward, sinusoids

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 16},
    # Turc et al. 2019, https://arxiv.org/abs/1908.08962, the smallest of their encoders.
    "tiny": {"num_layers": 2, "num_heads": 2, "width": 128},
    # Vaswani et al. 2017, table 3, "base".
    "base": {"num_layers": 6, "num_heads": 8, "width": 512, "dropout": 0.1},
}

RULES = (
    (r"words/embedding", P("model", None)),  # [features, D]
    (r"(qkv|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(qkv|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)


@ranges.checked(
    num_classes=ranges.COUNT,
    num_features=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    dropout=ranges.RATE,
    embedding_dropout=ranges.RATE,
)
class Encoder(nn.Module):
    """Words and their positions, `num_layers` pre-norm blocks, a last norm, the largest value over the sentence.

    Padding changes nothing: it is neither attended to nor pooled.

    Args:
      num_classes: K.
      num_features: Rows of the table of embeddings; see `deeplab.nn.embedding.BagEmbedding`.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D, of the residual stream.
      dropout: Dropout probability in training: of the pooled values, on attention probabilities and on each branch; may
        be a tracer.
      embedding_dropout: Probability of dropping a component of the embeddings, for the whole sentence, in training; may
        be a tracer.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> import jax
      >>> model = Encoder(num_classes=2, num_features=100, **VARIANTS["test"])
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jax.numpy.ones((3, 12, 2), int))
      >>> logits.shape
      (3, 2)
    """

    rules = RULES

    num_classes: int
    num_features: int
    num_layers: int = 6
    num_heads: int = 8
    width: int = 512
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    remat: str = "none"

    @nn.compact
    def __call__(self, tokens: Integer[Array, "B T F"], train: bool = False) -> Float[Array, "B K"]:
        x, mask = BagEmbedding(self.num_features, self.width, name="words")(tokens)
        x = nn.Dropout(self.embedding_dropout, (1,), deterministic=not train, name="embedding_dropout")(x)
        # The mean square of the sinusoids is 1/2, much larger than that of the words: they are scaled to it.
        x = x + (0.05 * sinusoids(jnp.arange(tokens.shape[1]), self.width)[None]).astype(x.dtype)
        out_init = nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5)
        for i in range(self.num_layers):
            attention = SelfAttention(self.num_heads, self.dropout, INIT, out_init, parent=None)
            feed_forward = FeedForward(out_init=out_init, parent=None)
            x = remat(Block, self.remat)(attention, feed_forward, self.dropout, name=f"block{i + 1}")(x, train, mask)
        x = masked_max(nn.LayerNorm(epsilon=1e-5, name="norm")(x), mask)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_classes, name="head")(x)
