"""Neural collaborative filtering, from the ids of users and items alone.

He et al. 2017, https://arxiv.org/abs/1708.05031. Rendle et al. 2020, "Neural collaborative filtering vs. matrix
factorization revisited", https://arxiv.org/abs/2005.09683, find that a well-regularized dot product is as good.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.embedding import Embedding
from deeplab.nn.layout import IN_TURN
from deeplab.nn.retrieval import Candidates

# He et al. 2017, sections 4.3 and 4.4: 8 to 64 predictive factors, three hidden layers that halve the width each.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"factors": 4},
    **{f"{factors}": {"factors": factors, "num_layers": 3} for factors in (8, 16, 32, 64)},
}

RULES = (
    (r"embedding$", P("model", None)),  # [V, D], rows padded
    *IN_TURN,
)


@ranges.checked(
    num_users=ranges.COUNT, num_items=ranges.COUNT, factors=ranges.COUNT, num_layers=ranges.COUNT, dropout=ranges.RATE
)
class NeuMF(nn.Module):
    """score = w . [p_u * q_i ; MLP([p'_u ; q'_i])]: a generalized dot product beside a multilayer perceptron.

    The layers have 2^(L-1) F, ..., 2 F, F units. User 0 is an unknown user, whose embedding is learned from the users
    that `next_items(forget_user=...)` replaces by it.

    Args:
      num_users: Number of users, including user 0.
      num_items: Number of items V, including item 0.
      factors: Number of factors F.
      num_layers: Number of hidden layers L.
      dropout: Dropout rate of factors and hidden units; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = NeuMF(num_users=5, num_items=7, factors=4)
      >>> (scores,), _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.array([1, 2]), jnp.arange(7))
      >>> scores.shape
      (2, 1, 7)
    """

    rules = RULES

    num_users: int
    num_items: int
    factors: int = 32
    num_layers: int = 2
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, user: Int[Array, " B"], *candidates: Candidates, train: bool = False
    ) -> tuple[
        Float[Array, "B Q C"],
        ...,
    ]:
        """Scores of each set of candidates. Q is P for candidates per position, else 1."""
        F, widest = self.factors, self.factors * 2 ** (self.num_layers - 1)
        p = Embedding(self.num_users, F, name="product_user")(user)[:, None, None]  # [B, 1, 1, F]
        network_user = Embedding(self.num_users, widest, name="network_user")(user)
        # W [p' ; q'] = W_p p' + W_q q': only the sum is computed for each pair of a user and an item.
        of_user = nn.Dense(widest, name="hidden1")(network_user)[:, None, None]
        of_item = nn.Dense(widest, use_bias=False, name="hidden1_item")
        product_item = Embedding(self.num_items, F, name="product_item")
        network_item = Embedding(self.num_items, widest, name="network_item")
        hidden = [nn.Dense(widest // 2**i, name=f"hidden{i + 1}") for i in range(1, self.num_layers)]
        drop = nn.Dropout(self.dropout, deterministic=not train, name="dropout")
        out = nn.Dense(1, name="out")

        def scores(
            items: Candidates,
        ) -> Float[Array, "B Q C"]:
            shape = (1,) * (3 - items.ndim) + items.shape if items.ndim != 2 else (len(items), 1, items.shape[1])
            ids = items.reshape(shape)  # [#B, #P, C]
            x = nn.relu(of_user + of_item(network_item(ids)))
            for layer in hidden:
                x = nn.relu(layer(drop(x)))
            return out(drop(jnp.concatenate([p * product_item(ids), x], axis=-1)))[..., 0]

        return tuple(scores(items) for items in candidates)
