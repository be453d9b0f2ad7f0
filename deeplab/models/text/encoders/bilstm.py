"""Bidirectional LSTMs for sentences.

Graves and Schmidhuber 2005, https://doi.org/10.1016/j.neunet.2005.06.042; the pooling: Conneau et al. 2017,
"Supervised learning of universal sentence representations", https://arxiv.org/abs/1705.02364.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Integer

from deeplab.core import ranges
from deeplab.nn.embedding import BagEmbedding
from deeplab.nn.pooling import masked_max
from deeplab.nn.recurrent.layers import LSTM, Bidirectional

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "hidden": 4},
    # Conneau et al. 2017, section 3.2.2 and 3.3: "BiLSTM-Max", word vectors of 300.
    "infersent": {"width": 300, "hidden": 2048},
}

RULES = (
    (r"words/embedding", P("model", None)),  # [features, D]
    (r"head/kernel", P("model", None)),
)


@ranges.checked(
    num_classes=ranges.COUNT,
    num_features=ranges.COUNT,
    width=ranges.COUNT,
    hidden=ranges.COUNT,
    dropout=ranges.RATE,
    embedding_dropout=ranges.RATE,
)
class BiLSTM(nn.Module):
    """An LSTM in each direction, the largest value of each of their outputs over the sentence, and a linear layer.

    Padding changes nothing: both directions begin and end with the sentence, and padding is not pooled.

    Args:
      num_classes: K.
      num_features: Rows of the table of embeddings; see `deeplab.nn.embedding.BagEmbedding`.
      width: D, of the embeddings.
      hidden: Units of each direction.
      dropout: Probability of dropping a pooled value in training; may be a tracer.
      embedding_dropout: Probability of dropping a component of the embeddings, for the whole sentence, in training; may
        be a tracer.

    Example:
      >>> import jax
      >>> model = BiLSTM(num_classes=2, num_features=100, **VARIANTS["test"])
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((3, 12, 2), jnp.int32))
      >>> logits.shape
      (3, 2)
    """

    rules = RULES

    num_classes: int
    num_features: int
    width: int = 300
    hidden: int = 2048
    dropout: float = 0.0
    embedding_dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Integer[Array, "B T F"], train: bool = False) -> Float[Array, "B K"]:
        x, mask = BagEmbedding(self.num_features, self.width, name="words")(tokens)
        x = nn.Dropout(self.embedding_dropout, (1,), deterministic=not train, name="embedding_dropout")(x)
        both = Bidirectional(LSTM(self.hidden, parent=None), LSTM(self.hidden, parent=None), name="lstm")
        x = masked_max(both(x, jnp.sum(mask, axis=1)), mask)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_classes, name="head")(x)
