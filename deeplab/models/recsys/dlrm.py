"""Deep learning recommendation model: the probability of a click, from numbers and categories.

Naumov et al. 2019, "Deep learning recommendation model for personalization and recommendation systems",
https://arxiv.org/abs/1906.00091; with the cross layers of Wang et al. 2021, "DCN V2: improved deep & cross network",
https://arxiv.org/abs/2008.13535, as in MLPerf's DLRM-DCNv2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.embedding import Embedding
from deeplab.nn.interaction import Beside, Cross, Dot, LowRankCross, ReluLayers
from deeplab.nn.layout import IN_TURN

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 4, "bottom": (8,), "interaction": LowRankCross(2, rank=3), "top": (8, 6)},
    # Naumov et al. 2019, section 5.2 and the authors' bench/dlrm_s_criteo_kaggle.sh: 13-512-256-64-16, 512-256-1.
    "kaggle": {"width": 16, "bottom": (512, 256, 64), "interaction": Dot(), "top": (512, 256)},
    # The authors' run_and_time.sh, MLPerf training 0.7 to 2.1: 13-512-256-128, 1024-1024-512-256-1.
    "terabyte": {"width": 128, "bottom": (512, 256), "interaction": Dot(), "top": (1024, 1024, 512, 256)},
    # MLPerf training 3.0 on, recommendation_v2/torchrec_dlrm: three cross layers of rank 512.
    "dcnv2": {
        "width": 128, "bottom": (512, 256), "interaction": LowRankCross(3, rank=512), "top": (1024, 1024, 512, 256),
    },
    # Wang et al. 2021, figure 1b and section 7.3 (Criteo): two cross layers beside layers of 768 units.
    "parallel": {
        "width": 39, "bottom": (), "interaction": Beside((Cross(2), ReluLayers((768, 768)))), "top": (),
    },
}  # fmt: skip

# Not of `bottom`: if the vector of the numbers is split before it is put beside the others, XLA's partitioner computes
# wrong gradients (jax 0.10.2).
RULES = (
    (r"embedding$", P("model", None)),  # [V, D], rows padded
    *((f"top/{pattern}", spec) for pattern, spec in IN_TURN),
    (r"down\d+/kernel", P(None, "model")),
    (r"up\d+/kernel", P("model", None)),
)


@ranges.checked(cardinalities=ranges.COUNT, width=ranges.COUNT, slots=ranges.COUNT)
class Tables(nn.Module):
    """Each categorical field as one vector: the sum of the embeddings of its ids, from a table of its own.

    An id that its field does not have, such as -1, is an empty slot, and adds nothing.

    Args:
      cardinalities: Number of ids of each of C fields.
      width: D, of the vectors.
      slots: Number of ids that each field may have in an example; one each when empty.

    Raises:
      ValueError: there are other ids than slots.

    Example:
      >>> ids = jnp.array([[2, 0, 1], [1, 3, -1]])  # two fields, of which the second has up to two ids
      >>> Tables((3, 4), width=5, slots=(1, 2)).init_with_output(jax.random.key(0), ids)[0].shape
      (2, 2, 5)
    """

    cardinalities: Sequence[int]
    width: int
    slots: Sequence[int] = ()

    @nn.compact
    def __call__(self, ids: Int[Array, "B S"]) -> Float[Array, "B C D"]:
        slots = self.slots or (1,) * len(self.cardinalities)
        if len(slots) != len(self.cardinalities) or ids.shape[1] != sum(slots):
            raise ValueError(
                f"the batch has {ids.shape[1]} ids, and the model {len(self.cardinalities)} fields with slots {slots}; "
                "give cardinalities and slots as those of the data"
            )
        vectors, first = [], 0
        for number, (size, count) in enumerate(zip(self.cardinalities, slots, strict=True), start=1):
            own = ids[:, first : first + count]
            known = (own >= 0) & (own < size)
            found = Embedding(size, self.width, _uniform(size), name=f"table{number}")(jnp.where(known, own, 0))
            vectors.append(jnp.sum(jnp.where(known[..., None], found, 0), axis=1))  # [B, S, D] -> [B, D]
            first += count
        return jnp.stack(vectors, axis=1)


@ranges.checked(
    cardinalities=ranges.COUNT, width=ranges.COUNT, slots=ranges.COUNT, bottom=ranges.COUNT, top=ranges.COUNT,
    outputs=ranges.COUNT, dropout=ranges.RATE,
)  # fmt: skip
class DLRM(nn.Module):
    """logit = head(MLP(interaction([relu(MLP(numbers)), e_1, ..., e_C]))), with a vector e_c for each field.

    Args:
      cardinalities: Number of ids of each of C categorical fields.
      width: D, of the vectors of the fields and of the numbers.
      slots: Number of ids that each field may have in an example, whose embeddings are summed; one each when empty.
      bottom: Widths of the hidden layers of the numbers.
      interaction: Block from vectors [B, 1 + C, D], that of the numbers first, to features [B, K]; see
        `deeplab.nn.interaction`.
      top: Widths of the hidden layers of these features.
      outputs: Number of logits.
      dropout: Dropout rate of the vectors in training; may be a tracer.

    Example:
      >>> model = DLRM(cardinalities=(3, 4), slots=(1, 2), **VARIANTS["test"])
      >>> numbers, ids = jnp.ones((2, 5)), jnp.array([[2, 0, 1], [1, 3, -1]])
      >>> jax.jit(model.init_with_output)(jax.random.key(0), numbers, ids)[0].shape
      (2, 1)
    """

    rules = RULES

    cardinalities: Sequence[int]
    width: int = 16
    slots: Sequence[int] = ()
    bottom: Sequence[int] = (64,)
    interaction: nn.Module = Dot()
    top: Sequence[int] = (64,)
    outputs: int = 1
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, numbers: Float[Array, "B N"], categories: Int[Array, "B S"], train: bool = False
    ) -> Float[Array, "B K"]:
        """Logits; `categories` are the ids of all fields side by side, -1 where a slot is empty."""
        dense = ReluLayers((*self.bottom, self.width), name="bottom")(numbers)[:, None]
        fields = Tables(self.cardinalities, self.width, self.slots, name="tables")(categories)
        vectors = jnp.concatenate([dense, fields.astype(dense.dtype)], axis=1)  # [B, 1 + C, D]
        vectors = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(vectors)
        return nn.Dense(self.outputs, name="head")(ReluLayers(self.top, name="top")(self.interaction(vectors)))


def _uniform(size: int) -> nn.initializers.Initializer:
    """Uniform in [-1 / sqrt(V), 1 / sqrt(V)], V the number of ids, as the authors initialize their tables."""
    bound = size**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)
