"""Parts of transformers that encoders and decoders share.

Vaswani et al. 2017, "Attention is all you need", https://arxiv.org/abs/1706.03762, with the norms before the branches
(Xiong et al. 2020, https://arxiv.org/abs/2002.04745).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.cache import Index, KVCache
from deeplab.nn.layout import rows

INIT = nn.initializers.normal(0.02)
"""Initializer of weights (Radford et al. 2019)."""


@ranges.checked(expansion=ranges.COUNT)
class FeedForward(nn.Module):
    """D -> 4 D -> D with a GELU between (its tanh form, as in GPT-2).

    The products are of [(B T), D]: on a CPU, the gradient of a kernel from [B, T, D] copies both factors first. With
    the attention's projections likewise, a step of a GPT of 4 x 128, 12 x 64 tokens, takes 80 instead of 83 ms.

    Args:
      expansion: Number of hidden units divided by D.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> jax.jit(FeedForward().init_with_output)(jax.random.key(0), jnp.ones((1, 2, 8)))[0].shape
      (1, 2, 8)
    """

    expansion: int = 4
    out_init: jax.nn.initializers.Initializer = INIT

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        hidden = nn.Dense(self.expansion * x.shape[-1], kernel_init=INIT, name="up")(rows(x))
        return nn.Dense(x.shape[-1], kernel_init=self.out_init, name="down")(nn.gelu(hidden)).reshape(x.shape)


@ranges.checked(dropout=ranges.RATE)
class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), with dropout on both branches.

    The residual stream is summed as [(B T), D]. As [B, T, D], XLA's CPU compiler recomputes, for each weight gradient,
    the whole chain of residual gradients above it: 137 instead of 73 ms of CPU time for the gradient of 4 layers of
    128, 12 x 64 tokens. Between blocks the two reshapes cancel.

    Args:
      attention: Module called as `SelfAttention` is.
      feed_forward: Module applied to each position by itself.
      dropout: Probability of dropping a component of a branch's output in training; may be a tracer.

    Example:
      >>> from deeplab.nn.attention.self_attention import SelfAttention
      >>> block, padding = Block(SelfAttention(num_heads=2), FeedForward()), jnp.array([[True, True, False]])
      >>> block.init_with_output(jax.random.key(0), jnp.ones((1, 3, 8)), False, padding)[0].shape
      (1, 3, 8)
    """

    attention: nn.Module
    feed_forward: nn.Module
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        train: bool = False,
        segment_ids: Int[Array, "B T"] | Bool[Array, "B T"] | None = None,
        cache: KVCache | None = None,
        cache_index: Index = 0,
    ) -> Any:
        """The new residual stream [B, T, D]; with a cache, a pair of it and the new cache; see `SelfAttention`."""
        shape = x.shape
        x = rows(x)  # B T D -> (B T) D
        y: Any = self.attention(
            nn.LayerNorm(epsilon=1e-5, name="norm1")(x).reshape(shape), train, segment_ids, cache, cache_index
        )
        if cache is not None:
            y, cache = y
        y = nn.Dropout(self.dropout, deterministic=not train, name="dropout1")(y)
        x = x + y.reshape(x.shape)
        y = self.feed_forward(nn.LayerNorm(epsilon=1e-5, name="norm2")(x).reshape(shape))
        y = nn.Dropout(self.dropout, deterministic=not train, name="dropout2")(y)
        x = (x + y.reshape(x.shape)).reshape(shape)
        return x if cache is None else (x, cache)


def sinusoids(positions: Int[Array, "*B T"] | np.ndarray, width: int) -> Float[Array, "*B T D"]:
    """Positions as waves, the first half sines and the second cosines, of wavelengths 2 pi to 20000 pi.

    p_t,i = sin(t / 10000^(2 i / D)), p_t,D/2+i = cos(t / 10000^(2 i / D)) for i < D / 2; in Vaswani et al. 2017,
    section 3.5, the two alternate, which is the same up to the order of the components.

    Args:
      positions: Positions; those of NumPy are computed in float64, as a constant of the program.
      width: D.

    Raises:
      ValueError: An odd width.

    Example:
      >>> [[round(float(x), 2) for x in row] for row in sinusoids(jnp.arange(2), 4)]
      [[0.0, 0.0, 1.0, 1.0], [0.84, 0.01, 0.54, 1.0]]
    """
    if width % 2:
        raise ValueError(f"width {width} is odd; sines and cosines need an even one")
    xp: Any = np if isinstance(positions, np.ndarray) else jnp
    rates = 10_000.0 ** (-xp.arange(0, width, 2) / width)
    angles = positions[..., None] * rates.reshape(*[1] * positions.ndim, -1)  # [*B, T, D / 2]
    return xp.concatenate([xp.sin(angles), xp.cos(angles)], axis=-1)
