"""Residual network for tables.

Gorishniy, Rubachev, Khrulkov and Babenko 2021, "Revisiting deep learning models for tabular data",
https://arxiv.org/abs/2106.11959, section 3.2; with the embeddings of numbers of Gorishniy, Rubachev and Babenko 2022,
"On embeddings for numerical features in tabular deep learning", https://arxiv.org/abs/2203.05556.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.tabular import Columns

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_blocks": 1, "width": 8, "hidden": 16, "column_width": 4, "frequencies": 4},
    "small": {"num_blocks": 1, "width": 64, "hidden": 128, "column_width": 8, "frequencies": 16},
    # The defaults of the authors' package (rtdl_revisiting_models), which the paper's appendix leaves to tuning.
    "base": {"num_blocks": 2, "width": 192, "hidden": 384, "column_width": 8, "frequencies": 16},
}

# Not of `stem`: with a residual stream that is split, too, XLA's partitioner computes `down` wrongly (jax 0.10.2).
RULES = (
    (r"up/kernel", P(None, "model")),
    (r"up/bias", P("model")),
    (r"down/kernel", P("model", None)),
)


@ranges.checked(hidden=ranges.COUNT, dropout=ranges.RATE)
class Block(nn.Module):
    """x + dropout(W_2 dropout(relu(W_1 norm(x) + b_1)) + b_2).

    Args:
      hidden: Units of the hidden layer.
      dropout: Dropout probability of the hidden units in training.
      norm: Constructor of the normalization layer.

    Example:
      >>> import jax
      >>> shapes = jax.eval_shape(Block(hidden=16).init, jax.random.key(0), jax.numpy.ones((2, 8)))["params"]
      >>> shapes["up"]["kernel"].shape, shapes["down"]["kernel"].shape
      ((8, 16), (16, 8))
    """

    hidden: int
    dropout: float = 0.0
    norm: Norm = batch_norm

    @nn.compact
    def __call__(self, x: Float[Array, "B D"], train: bool = False) -> Float[Array, "B D"]:
        y = nn.relu(nn.Dense(self.hidden, name="up")(self.norm(train, name="norm")(x)))
        y = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(y)
        return x + nn.Dense(x.shape[-1], name="down")(y)


@ranges.checked(
    outputs=ranges.COUNT,
    cardinalities=ranges.COUNT,
    num_blocks=ranges.COUNT,
    width=ranges.COUNT,
    hidden=ranges.COUNT,
    dropout=ranges.RATE,
    column_width=ranges.COUNT,
    frequencies=ranges.NATURAL,
    sigma=ranges.POSITIVE,
)
class TabularResNet(nn.Module):
    """Columns as vectors side by side, then residual blocks, then relu(norm(x)) and a linear layer.

    The paper has a second dropout on each branch, whose default is 0; here there is one, of the hidden units.

    Args:
      outputs: Number of outputs: classes K, or Q numbers for each target.
      cardinalities: Number of classes of each category, as `data.cardinalities`.
      num_blocks: Number of residual blocks.
      width: Width of the residual stream.
      hidden: Units of the blocks' hidden layers.
      dropout: Dropout probability of the hidden units in training; may be a tracer.
      column_width: Width of the vector of each column.
      frequencies: Waves for each number, see `deeplab.nn.tabular`; 0 is a linear vector of each.
      sigma: Standard deviation of the initial frequencies; may be a tracer.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = TabularResNet(outputs=1, cardinalities=(3,), **VARIANTS["test"])
      >>> table = jnp.ones((2, 5)), jnp.zeros((2, 1), jnp.int32)
      >>> jax.jit(model.init_with_output)(jax.random.key(0), *table)[0].shape
      (2, 1)
    """

    rules = RULES

    outputs: int
    cardinalities: Sequence[int] = ()
    num_blocks: int = 2
    width: int = 192
    hidden: int = 384
    dropout: float = 0.15
    column_width: int = 8
    frequencies: int = 16
    sigma: float = 0.1
    norm: Norm = batch_norm

    @nn.compact
    def __call__(
        self, numbers: Float[Array, "B N"], categories: Int[Array, "B C"] | None = None, train: bool = False
    ) -> Float[Array, "B K"]:
        columns = Columns(self.cardinalities, self.column_width, self.frequencies, self.sigma, name="columns")
        x = columns(numbers, categories).reshape(len(numbers), -1)  # [B, T, D] -> [B, T*D]
        x = nn.Dense(self.width, name="stem")(x)
        for i in range(1, self.num_blocks + 1):
            x = Block(self.hidden, self.dropout, self.norm, name=f"block{i}")(x, train)
        return nn.Dense(self.outputs, name="head")(nn.relu(self.norm(train, name="norm")(x)))
