"""Matrix factorization: a rating is a dot product of embeddings, plus biases.

Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems",
https://doi.org/10.1109/MC.2009.263; Koren 2008, "Factorization meets the neighborhood",
https://doi.org/10.1145/1401890.1401944; features of users and items: Chen et al. 2012, "SVDFeature",
https://jmlr.org/papers/v13/chen12a.html.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.nn.ratings import History, ItemFeatures, ItemRatings, Profile, Ratings, UserVector

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 4},
    # Koren et al. 2009, equation 4, and figure 4: 40 to 1,500 factors for Netflix' 480,189 users.
    "biased": {"width": 40, "history": None},
    # Koren 2008, table 1: SVD++ with 50, 100 and 200 factors.
    "svd++-50": {"width": 50},
    "svd++-100": {"width": 100},
    "svd++-200": {"width": 200},
}

RULES = (
    (r"embedding$", P("model", None)),  # [V, D], rows padded
    (r"item_bias$", P("model")),
)


@ranges.checked(num_users=ranges.COUNT, num_items=ranges.COUNT, width=ranges.COUNT, dropout=ranges.RATE)
class Factorization(nn.Module):
    """r_ui = m + b_u + b_i + c . h_u + (q_i + F f_i) . h_u, with h_u = p_u + P f_u + history(ratings of u).

    q_i and p_u are the embeddings of item and user, f_i and f_u their features (genres, occupation, ...). User 0 is an
    unknown user and has neither b_u nor p_u: the prediction depends on their ratings and features alone.

    Args:
      num_users: Number of users, including user 0.
      num_items: Number of items V.
      width: Number of factors D.
      history: Constructor of the encoder of a user's ratings, as in SVD++. None means no encoder.
      dropout: Dropout rate of the factors of h; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Factorization(num_users=5, num_items=7, width=4)
      >>> users = jnp.array([0, 3]), jnp.zeros((2, 7)), jnp.zeros((2, 2))
      >>> ratings, _ = jax.jit(model.init_with_output)(jax.random.key(0), *users, jnp.zeros((2, 7, 3)))
      >>> ratings.shape
      (2, 7)
    """

    rules = RULES

    num_users: int
    num_items: int
    width: int = 96
    history: Callable[..., nn.Module] | None = History
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
        h = UserVector(self.num_users, self.width, name="user")(user, profile)
        if self.history is not None:
            h = h + self.history(self.num_items, self.width, name="history")(known, given)
        h = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(h)
        bias = UserVector(self.num_users, 1, name="user_bias")(user, profile)
        return bias + ItemRatings(self.num_items, name="rating")(h, features[0])
