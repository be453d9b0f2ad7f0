"""A learned bias of the scores by the distance between query and key.

Raffel et al. 2019, "Exploring the limits of transfer learning with a unified text-to-text transformer",
https://arxiv.org/abs/1910.10683, section 2.1.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplab.core import ranges


def buckets(num_buckets: int, max_distance: int, causal: bool = False) -> np.ndarray:
    """The bucket of each distance key - query from -max_distance to max_distance, [2 max_distance + 1].

    Half of the buckets are of one distance each, the others grow by a factor up to `max_distance`. Keys after the query
    have half of all buckets, or where there are none, as in a decoder, bucket 0.

    Args:
      num_buckets: Number of buckets.
      max_distance: Distance from which on all share the last bucket.
      causal: Whether a query reads no key after it.

    Example:
      >>> buckets(8, 8).tolist()
      [3, 3, 3, 3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7, 7, 7, 7]
    """
    each = num_buckets if causal else num_buckets // 2
    exact = each // 2
    far = np.arange(max_distance + 1)
    # In float32, as where the published weights come from: it decides the bucket of a distance at an edge.
    steps = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact)) / np.float32(np.log(max_distance / exact))
    large = np.minimum(exact + (steps * np.float32(each - exact)).astype(int), each - 1)
    back = np.where(far < exact, far, large)
    ahead = np.zeros_like(back) if causal else back + each
    return np.concatenate([back[::-1], ahead[1:]])


@ranges.checked(num_heads=ranges.COUNT, num_buckets=ranges.COUNT, max_distance=ranges.COUNT)
class RelativeBias(nn.Module):
    """What each of H heads adds to the score of a key by its distance from the query, which all layers share.

    Args:
      num_heads: H.
      num_buckets: Number of distances that are told apart.
      max_distance: Distance from which on none is.
      causal: Whether a query reads no key after it.

    Example:
      >>> import jax
      >>> layer = RelativeBias(num_heads=2)
      >>> layer.init_with_output(jax.random.key(0), jnp.arange(3, 5), num_keys=7)[0].shape
      (1, 2, 2, 7)
    """

    num_heads: int
    num_buckets: int = 32
    max_distance: int = 128
    causal: bool = False

    @nn.compact
    def __call__(self, positions: Int[Array, "*B T"], num_keys: int) -> Float[Array, "#B H T S"]:
        """The bias of queries at these positions among keys at 0, 1, ..."""
        table = self.param("embedding", nn.initializers.normal(0.02), (self.num_buckets, self.num_heads))
        distance = jnp.arange(num_keys)[None, None] - jnp.atleast_2d(positions)[..., None]  # [1 | B, T, S]
        far = jnp.clip(distance, -self.max_distance, self.max_distance) + self.max_distance
        bucket = jnp.asarray(buckets(self.num_buckets, self.max_distance, self.causal))[far]
        return table[bucket].transpose(0, 3, 1, 2)  # B T S H -> B H T S
