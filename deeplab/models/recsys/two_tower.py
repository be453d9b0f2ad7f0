"""Two-tower model: a score is the dot product of a user's and an item's encoding.

Covington, Adams and Sargin 2016, "Deep neural networks for YouTube recommendations",
https://doi.org/10.1145/2959100.2959190 (the user's watch history); Yi et al. 2019, "Sampling-bias-corrected neural
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

from deeplab.core import ranges
from deeplab.nn.embedding import Embedding
from deeplab.nn.layout import IN_TURN
from deeplab.nn.retrieval import Candidates, dot_scores, gather_positions

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "hidden": (8, 6)},
    # Covington et al. 2016, table 1: ranking networks of one to three layers; "1024-512-256" is the best.
    "512": {"width": 256, "hidden": (512,)},
    "1024-512": {"width": 256, "hidden": (1024, 512)},
    # Yi et al. 2019, section 6.1: towers of 1024, 512 and 128 units.
    "wikipedia": {"width": 128, "hidden": (1024, 512)},
}

RULES = (
    (r"embedding$", P("model", None)),  # [V, D], rows padded
    *IN_TURN,
)


@ranges.checked(width=ranges.COUNT, hidden=ranges.COUNT, dropout=ranges.RATE)
class Tower(nn.Module):
    """Layers with ReLU, then a vector normalized to length 1.

    Example:
      >>> x = jnp.array([[1.0, 2.0], [3.0, -1.0]])
      >>> y = Tower(width=4, hidden=(8,)).init_with_output(jax.random.key(0), x)[0]
      >>> y.shape, jnp.round(jnp.linalg.norm(y, axis=-1), 3).tolist()
      ((2, 4), [1.0, 1.0])
    """

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


@ranges.checked(
    num_items=ranges.COUNT, width=ranges.COUNT, hidden=ranges.COUNT, temperature=ranges.POSITIVE, dropout=ranges.RATE
)
class TwoTower(nn.Module):
    """score = u . v / temperature, with u and v the outputs of the user tower and the item tower, of length 1.

    The user tower's input is the mean embedding of the items so far, the embedding of the last item, and the user's
    features. The item tower's input is the item's embedding and features. There are no user embeddings, so new users
    are scored like all others.

    Args:
      num_items: Number of items V, including item 0.
      width: Dimension D of embeddings and of the towers' outputs.
      hidden: Numbers of units of each tower's hidden layers.
      temperature: Divisor of the scores; may be a tracer.
      dropout: Dropout rate of the user tower's hidden units; may be a tracer.

    Example:
      >>> model = TwoTower(num_items=7, **VARIANTS["test"])
      >>> history, positions, profile = jnp.array([[3, 1, 0]]), jnp.array([[1]]), jnp.zeros((1, 2))
      >>> inputs = history, positions, profile, jnp.zeros((1, 7, 3)), jnp.arange(7)
      >>> (scores,), _ = jax.jit(model.init_with_output)(jax.random.key(0), *inputs)
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
        positions: Int[Array, "B P"],
        profile: Real[Array, "B U"],
        features: Real[Array, "B V F"],
        *candidates: Candidates,
        train: bool = False,
    ) -> tuple[Float[Array, "B P C"], ...]:
        """Scores of each set of candidates. All examples share `features`; those of the first are read."""
        watched = Embedding(self.num_items, self.width, name="watched")(history)  # [B, T, D]
        watched = watched * (history > 0)[..., None]
        mean = jnp.cumsum(watched, axis=1, dtype=jnp.float32) / (1 + jnp.arange(history.shape[1]))[None, :, None]
        mean = mean.astype(watched.dtype)
        profile = jnp.broadcast_to(profile[:, None].astype(mean.dtype), (*positions.shape, profile.shape[-1]))
        user = jnp.concatenate([gather_positions(x, positions) for x in (mean, watched)] + [profile], axis=-1)
        user = Tower(self.width, self.hidden, self.dropout, name="user_tower")(user, train)
        own = Embedding(self.num_items, self.width, name="item").vectors()
        item = jnp.concatenate([own, features[0].astype(own.dtype)], axis=-1)  # [V, D + F]
        item = Tower(self.width, self.hidden, name="item_tower")(item)
        return tuple(dot_scores(user, item[chosen]) / self.temperature for chosen in candidates)
