"""What happens to the products of queries and keys before they become weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Scores(NamedTuple):
    """Changes of the scores of H heads, in this order; those that are None do nothing.

    Attributes:
      soft_cap: c of c tanh(score / c), which bounds the scores (Gemma Team 2024, https://arxiv.org/abs/2408.00118).
      slopes: Slope of each head, by which keys further back score less (Press et al. 2021, "ALiBi",
        https://arxiv.org/abs/2108.12409). Added as slope times position, the same up to a constant of the softmax.
      sinks: Score of each head's key without a value, which takes a part of the weight (Xiao et al. 2023,
        https://arxiv.org/abs/2309.17453).
      bias: What is added to the score of each query and key, such as `deeplab.nn.attention.relative.RelativeBias`.

    Example:
      >>> half = Scores(sinks=jnp.zeros(1)).weights(jnp.zeros((1, 1, 1, 1)), None)
      >>> half.tolist()
      [[[[0.5]]]]
    """

    soft_cap: float | None = None
    slopes: Float[Array, " H"] | None = None
    sinks: Float[Array, " H"] | None = None
    bias: Float[Array, "#B H T S"] | None = None

    def of_rows(self, rows: Int[Array, " C"], group: int) -> Scores:
        """Those of rows that hold the queries of `group` heads side by side: [K, C] for each number of a head."""

        def for_rows(x: Any) -> Any:
            return None if x is None else x.reshape(-1, group)[:, rows % group]

        bias = self.bias
        if bias is not None:
            B, H, T, S = bias.shape
            bias = bias.reshape(B, H // group, group, T, S)[:, :, rows % group, rows // group]  # B K C S
        return self._replace(slopes=for_rows(self.slopes), sinks=for_rows(self.sinks), bias=bias)

    def weights(
        self, scores: Float[Array, "B K C S"], mask: Bool[Array, "#B #K #C S"] | None
    ) -> Float[Array, "B K C S"]:
        """The softmax over the keys that the mask allows."""
        if self.soft_cap is not None:
            scores = self.soft_cap * jnp.tanh(scores / self.soft_cap)
        if self.slopes is not None:
            slopes = self.slopes.reshape(1, *self.slopes.shape[:1], -1, 1)
            scores = scores + slopes * jnp.arange(scores.shape[-1], dtype=scores.dtype).reshape(1, 1, 1, -1)
        if self.bias is not None:
            scores = scores + self.bias.astype(scores.dtype)
        if mask is not None:
            scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        if self.sinks is None:
            return jax.nn.softmax(scores, axis=-1)
        sinks = self.sinks.reshape(1, *self.sinks.shape[:1], -1, 1).astype(scores.dtype)
        sinks = jnp.broadcast_to(sinks, (*scores.shape[:-1], 1))
        return jax.nn.softmax(jnp.concatenate([scores, sinks], axis=-1), axis=-1)[..., :-1]


def alibi_slopes(num_heads: int) -> np.ndarray:
    """2^(-8 i / H) for heads i = 1 .. H; for other numbers than powers of two, every second of the next one's besides.

    Example:
      >>> alibi_slopes(4).tolist()
      [0.25, 0.0625, 0.015625, 0.00390625]
    """
    below = 2 ** int(np.log2(num_heads))
    slopes = 2.0 ** (-8 * np.arange(1, below + 1) / below)
    between = 2.0 ** (-4 * np.arange(1, 2 * (num_heads - below), 2) / below)
    return np.concatenate([slopes, between]).astype(np.float32)
