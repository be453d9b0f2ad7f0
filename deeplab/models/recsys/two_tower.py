"""Two towers: a user and an item each become a vector, and their product is the score.

Covington, Adams and Sargin 2016, "Deep neural networks for YouTube recommendations",
https://doi.org/10.1145/2959100.2959190 (the user by what they watched); Yi et al. 2019, "Sampling-bias-corrected neural
modeling for large corpus item recommendations", https://doi.org/10.1145/3298689.3346996 (both towers, normalized).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Real

from deeplab.nn.retrieval import Candidates, at_places, dot_scores
from deeplab.nn.tables import Embedding

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "hidden": (8,)},
    # Covington et al. 2016, table 1: ranking networks of one to three layers; "1024-512-256" is the best.
    "512": {"width": 256, "hidden": (512,)},
    "1024-512": {"width": 256, "hidden": (1024, 512)},
    # Yi et al. 2019, section 6.1: towers of 1024, 512 and 128 units.
    "wikipedia": {"width": 128, "hidden": (1024, 512)},
}

RULES = (
    (r"embedding$", P("model", None)),  # [V, D], rows padded
    (r"hidden\d+/kernel", P(None, "model")),
    (r"hidden\d+/bias", P("model")),
    (r"out/kernel", P("model", None)),
)


class Tower(nn.Module):
    """Rectified layers, then a vector of length 1."""

    width: int
    hidden: Sequence[int]
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"], train: bool = False) -> Float[Array, "*B E"]:
        for i, units in enumerate(self.hidden, start=1):
            x = nn.relu(nn.Dense(units, name=f"hidden{i}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")(x)
        x = nn.Dense(self.width, name="out")(x)
        square = jnp.sum(x.astype(jnp.float32) ** 2, axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(square + 1e-6).astype(x.dtype)


class TwoTower(nn.Module):
    """score = u . v / temperature, with u the user tower's vector and v the item tower's, both of length 1.

    The user's tower reads the mean of the vectors of the items so far, that of the last, and the user's features; the
    item's tower reads an item's vector and its features. No user has a vector of their own: who is new is judged like
    all others.

    Args:
      num_items: V, with item 0.
      width: D, of vectors and towers.
      hidden: units of each tower's hidden layers.
      temperature: the smaller, the sharper; may be a tracer.
      dropout: probability that a hidden unit of the user's tower is dropped in training; may be a tracer.

    Example:
      >>> model = TwoTower(num_items=7, **VARIANTS["test"])
      >>> history, places, profile = jnp.array([[3, 1, 0]]), jnp.array([[1]]), jnp.zeros((1, 2))
      >>> given = history, places, profile, jnp.zeros((1, 7, 3)), jnp.arange(7)
      >>> (scores,), _ = jax.jit(model.init_with_output)(jax.random.key(0), *given)
      >>> scores.shape
      (1, 1, 7)
    """

    rules = RULES

    num_items: int
    width: int = 64
    hidden: Sequence[int] = (128,)
    temperature: float = 0.1
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        history: Int[Array, "B T"],
        places: Int[Array, "B P"],
        profile: Real[Array, "B U"],
        features: Real[Array, "B V F"],
        *candidates: Candidates,
        train: bool = False,
    ) -> tuple[Float[Array, "B P C"], ...]:
        """For each set of candidates, their scores; of `features`, which all examples share, the first's are read."""
        watched = Embedding(self.num_items, self.width, name="watched")(history)  # [B, T, D]
        watched = watched * (history > 0)[..., None]
        mean = jnp.cumsum(watched, axis=1, dtype=jnp.float32) / (1 + jnp.arange(history.shape[1]))[None, :, None]
        mean = mean.astype(watched.dtype)
        facts = jnp.broadcast_to(profile[:, None].astype(mean.dtype), (*places.shape, profile.shape[-1]))
        user = jnp.concatenate([at_places(mean, places), at_places(watched, places), facts], axis=-1)
        user = Tower(self.width, self.hidden, self.dropout, name="user_tower")(user, train)
        own = Embedding(self.num_items, self.width, name="item").vectors()
        item = jnp.concatenate([own, features[0].astype(own.dtype)], axis=-1)  # [V, D + F]
        item = Tower(self.width, self.hidden, name="item_tower")(item)
        return tuple(dot_scores(user, item[chosen]) / self.temperature for chosen in candidates)
