"""Transformer over patches of a time series, separately for each channel.

Nie, Nguyen, Sinthong and Kalagnanam 2023, "A time series is worth 64 words: long-term forecasting with transformers",
https://arxiv.org/abs/2211.14730.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.attention.dot_product import attend
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.remat import remat
from deeplab.nn.series import Normalize, by_channel, by_instance

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 8, "hidden": 16, "patch": 4, "stride": 2},
    # Nie et al. 2023, appendix A.1.4: the small setting, for ETTh1, ETTh2 and ILI; and the one for all other sets.
    "small": {"num_layers": 3, "num_heads": 4, "width": 16, "hidden": 128, "dropout": 0.3},
    "base": {"num_layers": 3, "num_heads": 16, "width": 128, "hidden": 256, "dropout": 0.2},
}

RULES = (
    (r"(qkv|up)/kernel", P(None, "model")),
    (r"(qkv|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)


@ranges.checked(num_heads=ranges.COUNT, hidden=ranges.COUNT, dropout=ranges.RATE)
class Block(nn.Module):
    """norm(x + attention(x)), then norm(x + feed_forward(x)), over the patches of each channel.

    Channels are merged with heads, so that the leading axis is the batch, by whose examples dropout is drawn.

    Args:
      num_heads: H, which divides the width.
      hidden: Units of the feed-forward layer.
      dropout: Dropout probability in training, of attention probabilities and of both branches.
      norm: Constructor of a normalization layer; see `deeplab.nn.norm`.

    Example:
      >>> import jax
      >>> x = jnp.ones((2, 3, 5, 8))
      >>> jax.eval_shape(Block(num_heads=2, hidden=16).init_with_output, jax.random.key(0), x)[0].shape
      (2, 3, 5, 8)
    """

    num_heads: int
    hidden: int
    dropout: float = 0.0
    norm: Norm = batch_norm

    @nn.compact
    def __call__(self, x: Float[Array, "B C N D"], train: bool = False) -> Float[Array, "B C N D"]:
        drop = lambda name: nn.Dropout(self.dropout, deterministic=not train, name=name)  # noqa: E731  (three of a kind)
        y = drop("dropout1")(self._attention(x, drop("attention_dropout")))
        x = self.norm(train, name="norm1")(x + y)
        y = nn.Dense(x.shape[-1], name="down")(nn.gelu(nn.Dense(self.hidden, name="up")(x)))
        return self.norm(train, name="norm2")(x + drop("dropout2")(y))

    def _attention(self, x: Float[Array, "B C N D"], dropout: nn.Module) -> Float[Array, "B C N D"]:
        (B, C, N, D), H = x.shape, self.num_heads
        if D % H:
            raise ValueError(f"width {D} is not a multiple of num_heads {H}")
        qkv = nn.Dense(3 * D, name="qkv")(x).reshape(B, C, N, H, 3, D // H)
        qkv = qkv.transpose(4, 0, 1, 3, 2, 5).reshape(3, B, C * H, N, D // H)  # B C N H 3 d -> 3 B (C H) N d
        out = attend(qkv[0], qkv[1], qkv[2], dropout=dropout)
        out = out.reshape(B, C, H, N, D // H).transpose(0, 1, 3, 2, 4).reshape(B, C, N, D)  # B (C H) N d -> B C N (H d)
        return nn.Dense(D, name="out")(out)


@ranges.checked(
    horizon=ranges.COUNT,
    outputs=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    hidden=ranges.COUNT,
    patch=ranges.COUNT,
    stride=ranges.COUNT,
    dropout=ranges.RATE,
)
class PatchTST(nn.Module):
    """Overlapping patches of each channel's past are tokens of a transformer; all of them together give its future.

    The last value is repeated `stride` times at the end, so the number of patches is N = (L - patch) // stride + 2.

    Args:
      horizon: H, number of time steps ahead.
      outputs: Q, numbers for each time step.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D, of a token.
      hidden: Units of the feed-forward layers.
      patch: Time steps in a token.
      stride: Time steps from one token to the next.
      dropout: Dropout probability in training: of tokens, attention probabilities and branches; may be a tracer.
      norm: Constructor of a normalization layer; batch normalization by default, as in the paper.
      normalize: Normalization of the past, undone in the forecast; see `deeplab.nn.series`.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> import jax
      >>> model = PatchTST(horizon=6, **VARIANTS["test"])
      >>> forecast, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 24, 3)))
      >>> forecast.shape
      (2, 6, 3, 1)
    """

    rules = RULES

    horizon: int
    outputs: int = 1
    num_layers: int = 3
    num_heads: int = 4
    width: int = 16
    hidden: int = 128
    patch: int = 16
    stride: int = 8
    dropout: float = 0.0
    norm: Norm = batch_norm
    normalize: Normalize = by_instance
    remat: str = "none"

    @nn.compact
    def __call__(self, history: Float[Array, "B L C"], train: bool = False) -> Float[Array, "B H C Q"]:
        x, restore = self.normalize(history)
        x = jnp.pad(x.transpose(0, 2, 1), ((0, 0), (0, 0), (0, self.stride)), mode="edge")  # B L C -> B C L'
        starts = jnp.arange(0, x.shape[-1] - self.patch + 1, self.stride)
        x = x[..., starts[:, None] + jnp.arange(self.patch)[None]]  # B C L' -> B C N P
        x = nn.Dense(self.width, name="embed")(x)
        x = x + self.param("position", nn.initializers.uniform(0.02), x.shape[2:])[None, None]
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        for i in range(self.num_layers):
            block = remat(Block, self.remat)
            x = block(self.num_heads, self.hidden, self.dropout, self.norm, name=f"block{i + 1}")(x, train)
        x = x.reshape(*x.shape[:2], -1)  # B C N D -> B C (N D)
        return restore(by_channel(nn.Dense(self.horizon * self.outputs, name="head")(x), self.horizon, self.outputs))
