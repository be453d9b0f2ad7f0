"""Attention of each place of a map to a coarser map."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.attention.dot_product import attend
from deeplab.nn.attention.self_attention import join_heads, split_heads
from deeplab.nn.transformer import INIT


@ranges.checked(num_heads=ranges.COUNT, reduction=ranges.COUNT)
class ReducedAttention(nn.Module):
    """Self-attention of a map whose keys and values are of patches of R x R places: R^2 times fewer products.

    Args:
      num_heads: H.
      reduction: R; what is left of a side is cut off.
      norm: Norm of the coarser map, if R > 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = ReducedAttention(num_heads=2, reduction=2, norm=nn.LayerNorm())
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 5, 4, 8)))[0].shape
      (1, 5, 4, 8)

    Source: Wang et al. 2021, "Pyramid vision transformer", https://arxiv.org/abs/2102.12122, section 3.3.
    """

    num_heads: int
    reduction: int = 1
    norm: nn.Module | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        read, C = x, x.shape[-1]
        if self.reduction > 1:
            side = (self.reduction, self.reduction)
            read = nn.Conv(C, side, side, padding="VALID", kernel_init=INIT, name="reduce")(x)
            read = read if self.norm is None else self.norm(read)
        heads = (self._heads(name, given) for name, given in (("query", x), ("key", read), ("value", read)))
        out = nn.Dense(C, kernel_init=INIT, name="out")(join_heads(attend(*heads)))
        return out.reshape(x.shape)

    def _heads(self, name: str, x: Float[Array, "B H W C"]) -> Float[Array, "B K T d"]:
        B, _, _, C = x.shape
        y = nn.Dense(C, kernel_init=INIT, name=name)(x.reshape(B, -1, C))
        return split_heads(y, self.num_heads, 1)[0]
