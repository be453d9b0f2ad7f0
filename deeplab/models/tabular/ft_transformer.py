"""Transformer over the columns of a table ("FT-Transformer").

Gorishniy, Rubachev, Khrulkov and Babenko 2021, "Revisiting deep learning models for tabular data",
https://arxiv.org/abs/2106.11959, section 3.3; with the embeddings of numbers of Gorishniy, Rubachev and Babenko 2022,
"On embeddings for numerical features in tabular deep learning", https://arxiv.org/abs/2203.05556.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn import transformer
from deeplab.nn.activations import gated
from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.nn.layout import rows
from deeplab.nn.tabular import Columns, uniform_by_width

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 1, "num_heads": 2, "width": 8, "hidden": 12},
    "small": {"num_layers": 2, "num_heads": 4, "width": 32, "hidden": 42},
    # Gorishniy et al. 2021, appendix E.2: the default configuration.
    "base": {
        "num_layers": 3, "num_heads": 8, "width": 192, "hidden": 256, "attention_dropout": 0.2, "hidden_dropout": 0.1,
    },
}  # fmt: skip

RULES = (
    (r"(qkv|up)/kernel", P(None, "model")),
    (r"(qkv|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)

_reglu = gated(nn.relu)


@ranges.checked(hidden=ranges.COUNT, dropout=ranges.RATE)
class FeedForward(nn.Module):
    """W_2 dropout(a relu(b)) + b_2, with a and b the halves of W_1 x + b_1 ("ReGLU").

    Args:
      hidden: Units of each half.
      dropout: Dropout probability of the hidden units in training.
      deterministic: Whether nothing is dropped.

    Example:
      >>> import jax
      >>> shapes = jax.eval_shape(FeedForward(hidden=12).init, jax.random.key(0), jnp.ones((2, 5, 8)))["params"]
      >>> shapes["up"]["kernel"].shape, shapes["down"]["kernel"].shape
      ((8, 24), (12, 8))
    """

    hidden: int
    dropout: float = 0.0
    deterministic: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        y = _reglu(nn.Dense(2 * self.hidden, name="up")(rows(x)))
        y = nn.Dropout(self.dropout, deterministic=self.deterministic, name="dropout")(y.reshape(*x.shape[:2], -1))
        return nn.Dense(x.shape[-1], name="down")(rows(y)).reshape(x.shape)


@ranges.checked(
    outputs=ranges.COUNT,
    cardinalities=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    hidden=ranges.COUNT,
    attention_dropout=ranges.RATE,
    hidden_dropout=ranges.RATE,
    dropout=ranges.RATE,
    frequencies=ranges.NATURAL,
    sigma=ranges.POSITIVE,
)
class FTTransformer(nn.Module):
    """A token for each column and one more, whose last state gives the outputs: head(relu(norm(x))).

    The paper leaves out the very first normalization; here every branch has one.

    Args:
      outputs: Number of outputs: classes K, or Q numbers for each target.
      cardinalities: Number of classes of each category, as `data.cardinalities`.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: Width of a token.
      hidden: Units of the feed-forward layers, 4/3 of the width in the paper.
      attention_dropout: Dropout probability of attention probabilities in training; may be a tracer.
      hidden_dropout: Dropout probability of the feed-forward layers' hidden units in training; may be a tracer.
      dropout: Dropout probability of the branches in training; may be a tracer.
      frequencies: Waves for each number, see `deeplab.nn.tabular`; 0 is a linear vector of each.
      sigma: Standard deviation of the initial frequencies; may be a tracer.

    Example:
      >>> import jax
      >>> model = FTTransformer(outputs=1, cardinalities=(3,), **VARIANTS["test"])
      >>> table = jnp.ones((2, 5)), jnp.zeros((2, 1), jnp.int32)
      >>> jax.jit(model.init_with_output)(jax.random.key(0), *table)[0].shape
      (2, 1)
    """

    rules = RULES

    outputs: int
    cardinalities: Sequence[int] = ()
    num_layers: int = 3
    num_heads: int = 8
    width: int = 192
    hidden: int = 256
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    dropout: float = 0.0
    frequencies: int = 0
    sigma: float = 0.1

    @nn.compact
    def __call__(
        self, numbers: Float[Array, "B N"], categories: Int[Array, "B C"] | None = None, train: bool = False
    ) -> Float[Array, "B K"]:
        x = Columns(self.cardinalities, self.width, self.frequencies, self.sigma, name="columns")(numbers, categories)
        first = self.param("token", uniform_by_width, (1, 1, self.width)).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, self.width)), x], axis=1)  # [B, 1 + T, D]
        for i in range(1, self.num_layers + 1):
            attention = SelfAttention(self.num_heads, self.attention_dropout, parent=None)
            forward = FeedForward(self.hidden, self.hidden_dropout, not train, parent=None)
            x = transformer.Block(attention, forward, self.dropout, name=f"block{i}")(x, train)
        return nn.Dense(self.outputs, name="head")(nn.relu(nn.LayerNorm(epsilon=1e-5, name="norm")(x[:, 0])))
