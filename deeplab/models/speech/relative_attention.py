"""Self-attention with relative positions, as in Conformer.

Gulati et al. 2020, "Conformer: convolution-augmented transformer for speech recognition",
https://arxiv.org/abs/2005.08100, section 2.1.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from deeplab.core import ranges
from deeplab.core.precision import widened
from deeplab.nn.transformer import sinusoids


@ranges.checked(num_heads=ranges.COUNT, dropout=ranges.RATE)
class RelativeSelfAttention(nn.Module):
    """Norm, then self-attention with relative positions.

    score(t, s) = ((q_t + u) k_s + (q_t + v) r_{t-s}) / sqrt(d), with r a linear function of the sinusoids of t - s (Dai
    et al. 2019, https://arxiv.org/abs/1901.02860).

    Example:
      >>> x, mask = jnp.ones((1, 6, 8)), jnp.arange(6)[None, :, None] < 4
      >>> layer = RelativeSelfAttention(num_heads=2)
      >>> y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x, mask)
      >>> changed = jax.jit(layer.apply)(variables, x.at[:, 5, 0].set(7.0), mask)
      >>> bool((changed == y).all())  # no frame reads those outside the mask
      True
    """

    num_heads: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T 1"], train: bool = False
    ) -> Float[Array, "B T D"]:
        B, T, D = x.shape
        H, d = self.num_heads, D // self.num_heads
        qkv = nn.Dense(3 * D, name="qkv")(nn.LayerNorm(epsilon=1e-5, name="norm")(x)).reshape(B, T, H, 3, d)
        query, key, value = qkv.transpose(3, 0, 2, 1, 4)  # B T H 3 d -> 3 B H T d
        position = nn.Dense(D, use_bias=False, name="place")(relative_sinusoids(T, D).astype(x.dtype))  # [2 T - 1, D]
        position = position.reshape(-1, H, d).transpose(1, 0, 2)  # R (H d) -> H R d
        u, v = (self.param(name, nn.initializers.zeros, (H, 1, d))[None] for name in ("content_bias", "place_bias"))
        content = jnp.einsum("bhtd,bhsd->bhts", query + u, key)
        scores = (content + relative_to_absolute(jnp.einsum("bhtd,hrd->bhtr", query + v, position))) * d**-0.5
        scores = jnp.where(mask[:, None, :, 0][:, :, None], scores, jnp.finfo(jnp.float32).min)
        probabilities = jax.nn.softmax(widened(scores), axis=-1).astype(value.dtype)
        probabilities = nn.Dropout(self.dropout, deterministic=not train, name="attention_dropout")(probabilities)
        out = jnp.einsum("bhts,bhsd->bhtd", probabilities, value).transpose(0, 2, 1, 3).reshape(B, T, D)
        out = nn.Dense(D, name="out")(out)
        return nn.Dropout(self.dropout, deterministic=not train, name="dropout")(out)


def relative_sinusoids(length: int, width: int) -> np.ndarray:
    """Sines and cosines of the distances T - 1 down to 1 - T, [2 T - 1, D] (Vaswani et al. 2017, section 3.5).

    Example:
      >>> rows = relative_sinusoids(2, 4)
      >>> rows.shape, rows[1].tolist()  # of distance 0
      ((3, 4), [0.0, 0.0, 1.0, 1.0])
    """
    return np.asarray(sinusoids(np.arange(length - 1, -length, -1), width), np.float32)


def relative_to_absolute(scores: Float[Array, "B H T R"]) -> Float[Array, "B H T T"]:
    """From scores by distance, T - 1 down to 1 - T, to scores by position: out[t, s] = scores[t, T - 1 - t + s].

    Padding by one column and reshaping shifts each row by one more than the row before, without a gather.

    Example:
      >>> relative_to_absolute(jnp.arange(6.0).reshape(1, 1, 2, 3))[0, 0].tolist()
      [[1.0, 2.0], [3.0, 4.0]]
    """
    B, H, T, R = scores.shape
    padded = jnp.pad(scores, ((0, 0), (0, 0), (0, 0), (1, 0))).reshape(B, H, R + 1, T)
    return padded[:, :, 1:].reshape(B, H, T, R)[..., :T]
