"""What users are known by, as vectors, and the ratings that vectors tell."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Real

from deeplab.nn.tables import Embedding, padded

MIDDLE, HALF = 3.0, 2.0  # of the scale from 1 to 5, so that what layers read is in [-1, 1]


class History(nn.Module):
    """What a user has rated, as a vector.

    |R|^(-1/2) sum over j in R of y_j + (r_j - 3) / 2 x_j, where R are the items that the user has rated: y tells of
    what they chose, x of how they liked it. The sums are products of the batch's rows with two tables, [B, V] and
    [V, D]: on a CPU far faster than to gather the vectors of lists as long as the longest.

    Args:
      num_items: V.
      width: D.

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
    def __call__(self, known: Real[Array, "B V"]) -> Float[Array, "B D"]:
        """From ratings 1 to 5, and 0 where there is none."""
        chosen = Embedding(self.num_items, self.width, name="chosen").vectors()
        rated = (known > 0).astype(chosen.dtype)
        liked = (rated * (known - MIDDLE) / HALF).astype(chosen.dtype)
        count = jnp.maximum(jnp.sum(known > 0, axis=-1, keepdims=True), 1).astype(chosen.dtype)
        judged = Embedding(self.num_items, self.width, name="judged").vectors()
        return (rated @ chosen + liked @ judged) / jnp.sqrt(count)


class UserVector(nn.Module):
    """p_u + P f_u: a vector of the user's own, none for user 0 (one of whom nothing was learned), and of their features.

    Args:
      num_users: with user 0.
      width: D.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> user, profile = jnp.array([0, 3]), jnp.zeros((2, 2))
      >>> UserVector(num_users=5, width=1).init_with_output(jax.random.key(0), user, profile)[0].tolist()[0]
      [0.0]
    """

    num_users: int
    width: int

    @nn.compact
    def __call__(self, user: Int[Array, " B"], profile: Real[Array, "B P"]) -> Float[Array, "B D"]:
        own = Embedding(self.num_users, self.width, name="own")(user)
        shared = nn.Dense(self.width, use_bias=False, kernel_init=nn.initializers.normal(0.05), name="profile")(profile)
        return jnp.where((user > 0)[:, None], own, 0.0) + shared


class ItemRatings(nn.Module):
    """A vector h to the ratings of all items: m + b_i + c . h + (q_i + F f_i) . h, with features f_i of the items.

    An item that nobody has rated keeps b_i = 0 and a q_i near 0: it is judged by its features alone.

    Args:
      num_items: V.

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
        bias = self.param("item_bias", nn.initializers.zeros, (padded(self.num_items),))[: self.num_items]
        level = nn.Dense(1, kernel_init=small, bias_init=nn.initializers.constant(MIDDLE), name="level")(h)
        return level + bias[None] + h @ (own + shared).T
