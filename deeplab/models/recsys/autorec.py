"""Autoencoder of a user's ratings.

Sedhain, Menon, Sanner and Xie 2015, "AutoRec: autoencoders meet collaborative filtering",
https://doi.org/10.1145/2740908.2742726; deep and with dropout: Kuchaiev and Ginsburg 2017, "Training deep autoencoders
for collaborative filtering", https://arxiv.org/abs/1708.01715.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.nn.layout import IN_TURN
from deeplab.nn.ratings import History, ItemFeatures, ItemRatings, Profile, Ratings, UserVector

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 4, "hidden": (8, 6)},
    # Sedhain et al. 2015, section 3: one layer of 500 units.
    "autorec": {"width": 500, "hidden": ()},
    # Kuchaiev and Ginsburg 2017, table 3: n, 512, 512, 1024, 512, 512, n.
    "deep": {"width": 512, "hidden": (512, 1024, 512)},
}

RULES = (
    (r"embedding$", P("model", None)),  # [V, D], rows padded
    (r"item_bias$", P("model")),
    *IN_TURN,
)


@ranges.checked(
    num_users=ranges.COUNT, num_items=ranges.COUNT, width=ranges.COUNT, hidden=ranges.COUNT, dropout=ranges.RATE
)
class AutoRec(nn.Module):
    """r_u = decode(h + MLP(h)), with h the encoding of the user's ratings, id and features.

    Encoder and decoder are those of `Factorization`. The layers between are a residual branch, so that the network only
    has to learn what the linear model cannot.

    Args:
      num_users: Number of users, including user 0, who has no embedding.
      num_items: Number of items V.
      width: Dimension D of the code.
      hidden: Numbers of units of the layers between encoder and decoder.
      dropout: Dropout rate of hidden units and of the code; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = AutoRec(num_users=5, num_items=7, **VARIANTS["test"])
      >>> users = jnp.array([0, 3]), jnp.zeros((2, 7)), jnp.zeros((2, 2))
      >>> ratings, _ = jax.jit(model.init_with_output)(jax.random.key(0), *users, jnp.zeros((2, 7, 3)))
      >>> ratings.shape
      (2, 7)
    """

    rules = RULES

    num_users: int
    num_items: int
    width: int = 64
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        user: Int[Array, " B"],
        known: Ratings,
        profile: Profile,
        features: ItemFeatures,
        given: Bool[Array, "B V"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B V"]:
        """Predicted ratings of all items; `given` is the mask of the known ratings, those that are not 0 when None."""

        def drop(x: jax.Array, name: str) -> jax.Array:
            return nn.Dropout(self.dropout, deterministic=not train, name=name)(x)

        h = UserVector(self.num_users, self.width, name="user")(user, profile)
        h = h + History(self.num_items, self.width, name="history")(known, given)
        x = h
        for i, units in enumerate(self.hidden, start=1):
            x = drop(nn.gelu(nn.Dense(units, name=f"hidden{i}")(x)), f"dropout{i}")
        h = h + nn.Dense(self.width, kernel_init=nn.initializers.normal(0.02), name="out")(x)
        bias = UserVector(self.num_users, 1, name="user_bias")(user, profile)
        return bias + ItemRatings(self.num_items, name="rating")(drop(h, "dropout"), features[0])
