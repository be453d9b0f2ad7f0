"""Layers of rating models: encoders of a user, and the decoder to the ratings of all items."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Real

from deeplab.core import ranges
from deeplab.nn.embedding import Embedding, padded_size

Ratings = Real[Array, "B V"]
"""Ratings of all items by a user, and 0 for items without a rating."""

Profile = Real[Array, "B P"]
"""Features of users."""

ItemFeatures = Real[Array, "B V F"]
"""Features of all items. All examples share them; those of the first are read."""

CENTER, HALF_RANGE = 3.0, 2.0  # of ratings from 1 to 5, so that inputs of layers are in [-1, 1]


@ranges.checked(num_items=ranges.COUNT, width=ranges.COUNT)
class History(nn.Module):
    """Encoder of a user's ratings: |R|^(-1/2) sum over j in R of y_j + (r_j - 3) / 2 x_j.

    R are the items that the user has rated. The embedding y_j stands for the implicit feedback (the item was chosen),
    x_j for the explicit one (its rating). The sums are products [B, V] x [V, D], which on a CPU are much faster than a
    gather of padded lists of items.

    Args:
      num_items: Number of items V.
      width: Dimension D of the code.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> History(num_items=7, width=4).init_with_output(jax.random.key(0), jnp.zeros((2, 7)))[0].shape
      (2, 4)

    Source: Koren 2008, "Factorization meets the neighborhood", equations 13 and 15,
      https://doi.org/10.1145/1401890.1401944.
    """

    num_items: int
    width: int

    @nn.compact
    def __call__(self, known: Ratings, given: Bool[Array, "B V"] | None = None) -> Float[Array, "B D"]:
        """Code of users.

        Args:
          known: Ratings.
          given: Mask of the items that are rated; those whose rating is not 0 when None.
        """
        given = known != 0 if given is None else given
        chosen = Embedding(self.num_items, self.width, name="chosen").vectors()
        rated = given.astype(chosen.dtype)
        liked = (rated * (known - CENTER) / HALF_RANGE).astype(chosen.dtype)
        count = jnp.maximum(jnp.sum(given, axis=-1, keepdims=True), 1).astype(chosen.dtype)
        judged = Embedding(self.num_items, self.width, name="judged").vectors()
        return (rated @ chosen + liked @ judged) / jnp.sqrt(count)


@ranges.checked(num_users=ranges.COUNT, width=ranges.COUNT)
class UserVector(nn.Module):
    """User embedding and projected features: p_u + P f_u. User 0, an unknown user, has p_u = 0.

    Args:
      num_users: Number of users, including user 0.
      width: Dimension D.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> user, profile = jnp.array([0, 3]), jnp.zeros((2, 2))
      >>> UserVector(num_users=5, width=1).init_with_output(jax.random.key(0), user, profile)[0].tolist()[0]
      [0.0]
    """

    num_users: int
    width: int

    @nn.compact
    def __call__(self, user: Int[Array, " B"], profile: Profile) -> Float[Array, "B D"]:
        own = Embedding(self.num_users, self.width, name="own")(user)
        shared = nn.Dense(self.width, use_bias=False, kernel_init=nn.initializers.normal(0.05), name="profile")(profile)
        return jnp.where((user > 0)[:, None], own, 0.0) + shared


@ranges.checked(num_items=ranges.COUNT)
class ItemRatings(nn.Module):
    """Decoder of a user's code h to the ratings of all items: m + b_i + c . h + (q_i + F f_i) . h.

    f_i are the features of item i. An item without ratings keeps b_i = 0 and a q_i near 0, so that its prediction
    depends on its features alone.

    Args:
      num_items: Number of items V.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> h, features = jnp.zeros((2, 4)), jnp.zeros((7, 3))
      >>> ItemRatings(num_items=7).init_with_output(jax.random.key(0), h, features)[0].tolist()[0][:2]
      [3.0, 3.0]
    """

    num_items: int

    @nn.compact
    def __call__(self, h: Float[Array, "B D"], features: Real[Array, "V F"]) -> Float[Array, "B V"]:
        width = h.shape[-1]
        small = nn.initializers.normal(0.05)
        own = Embedding(self.num_items, width, name="item").vectors()
        shared = nn.Dense(width, use_bias=False, kernel_init=small, name="feature")(features)
        bias = self.param("item_bias", nn.initializers.zeros, (padded_size(self.num_items),))[: self.num_items]
        level = nn.Dense(1, kernel_init=small, bias_init=nn.initializers.constant(CENTER), name="level")(h)
        return level + bias[None] + h @ (own + shared).T
