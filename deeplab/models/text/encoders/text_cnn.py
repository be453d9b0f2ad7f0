"""Convolutional networks for sentences.

Kim 2014, "Convolutional neural networks for sentence classification", https://arxiv.org/abs/1408.5882; with a linear
model beside it, as in Cheng et al. 2016, "Wide & deep learning for recommender systems",
https://arxiv.org/abs/1606.07792.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Integer

from deeplab.core import ranges
from deeplab.nn.embedding import BagEmbedding
from deeplab.nn.pooling import masked_max

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "windows": (1, 3), "filters": 4, "wide": True},
    # Kim 2014, section 3.1, "CNN-rand".
    "rand": {"width": 300, "windows": (3, 4, 5), "filters": 100, "dropout": 0.5},
}

RULES = (
    (r"(words|wide)/embedding", P("model", None)),  # [features, D], [features, K]
    (r"window\d+/kernel", P(None, "model")),
    (r"window\d+/bias", P("model")),
    (r"head/kernel", P("model", None)),
)


@ranges.checked(
    num_classes=ranges.COUNT,
    num_features=ranges.COUNT,
    width=ranges.COUNT,
    windows=ranges.COUNT,
    filters=ranges.COUNT,
    dropout=ranges.RATE,
    embedding_dropout=ranges.RATE,
)
class TextCNN(nn.Module):
    """Filters over windows of words, the largest value of each over the sentence, and a linear layer.

    h_w,t = relu(V_w [e_t-l, ..., e_t-l+w-1] + b_w) with l = (w - 1) // 2, zeros outside of the sentence;
    logits = W dropout(max_t h) + c. A wide model adds sum_t u_t / sqrt(T) over the T words, with u_t [K] from a table
    of its own, looked up as e_t is: the evidence of each word, whatever its position. Padding changes nothing: windows
    read zeros there, as they do at the edges.

    Args:
      num_classes: K.
      num_features: Rows of the table of embeddings; see `deeplab.nn.embedding.BagEmbedding`.
      width: D, of the embeddings.
      windows: Number of words that a filter reads, for each set of filters.
      filters: Number of filters for each window.
      dropout: Probability of dropping a pooled value in training; may be a tracer.
      embedding_dropout: Probability of dropping a component of the embeddings, for the whole sentence, in training (Gal
        and Ghahramani 2016, https://arxiv.org/abs/1512.05287); may be a tracer.
      wide: Whether the linear model is added.

    Example:
      >>> import jax
      >>> model = TextCNN(num_classes=2, num_features=100, **VARIANTS["test"])
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((3, 12, 2), jnp.int32))
      >>> logits.shape
      (3, 2)
    """

    rules = RULES

    num_classes: int
    num_features: int
    width: int = 300
    windows: Sequence[int] = (3, 4, 5)
    filters: int = 100
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    wide: bool = False

    @nn.compact
    def __call__(self, tokens: Integer[Array, "B T F"], train: bool = False) -> Float[Array, "B K"]:
        x, mask = BagEmbedding(self.num_features, self.width, name="words")(tokens)
        x = nn.Dropout(self.embedding_dropout, (1,), deterministic=not train, name="embedding_dropout")(x)
        pooled = []
        for window in self.windows:
            # A product of unfolded windows: XLA's gradient of a short convolution is slower on a CPU.
            h = nn.Dense(self.filters, kernel_init=nn.initializers.he_normal(), name=f"window{window}")(
                unfold(x, window)
            )
            pooled.append(masked_max(nn.relu(h), mask))
        h = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(jnp.concatenate(pooled, axis=-1))
        logits = nn.Dense(self.num_classes, name="head")(h)
        if not self.wide:
            return logits
        each, _ = BagEmbedding(self.num_features, self.num_classes, name="wide")(tokens)  # 0 where there is no word
        count = jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1).astype(each.dtype)
        return logits + jnp.sum(each, axis=1) / jnp.sqrt(count)


def unfold(x: Float[Array, "B T D"], window: int) -> Float[Array, "B T WD"]:
    """Each position with its neighbors: [x_t-l, ..., x_t-l+w-1] with l = (w - 1) // 2, zeros outside.

    Example:
      >>> unfold(jnp.array([[[1.0], [2.0], [3.0]]]), 3)[0].tolist()
      [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0]]
    """
    left = (window - 1) // 2
    padded = jnp.pad(x, ((0, 0), (left, window - 1 - left), (0, 0)))
    return jnp.concatenate([padded[:, i : i + x.shape[1]] for i in range(window)], axis=-1)
