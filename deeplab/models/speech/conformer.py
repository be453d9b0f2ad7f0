"""Conformer: a transformer with convolutions, for speech recognition.

Gulati et al. 2020, "Conformer: convolution-augmented transformer for speech recognition",
https://arxiv.org/abs/2005.08100. This is the encoder with a linear layer, for connectionist temporal classification.
Padding has no effect: attention, convolutions and normalization exclude the frames beyond an example's length.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.core.precision import widened
from deeplab.nn.attention.masking import inside, zero_outside
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.remat import remat
from deeplab.nn.transformer import sinusoids

RULES = (
    (r"subsampling/conv\d/kernel", P(None, None, None, "model")),  # [time, frequency, in, out]
    (r"(qkv|place|up|gated)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(qkv|up|gated)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)


def _norm(name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, name=name)


@ranges.checked(width=ranges.COUNT, channels=ranges.COUNT)
class Subsampling(nn.Module):
    """Two 3 x 3 convolutions of stride 2 and a linear layer, for a quarter of the frames (section 2)."""

    width: int
    channels: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B F M"], frames: Int[Array, " B"]
    ) -> tuple[Float[Array, "B T D"], Int[Array, " B"]]:
        x = zero_outside(x[..., None], frames)  # [B, F, M, 1]
        for i in (1, 2):
            x = nn.Conv(self.channels, (3, 3), (2, 2), ((1, 1), (1, 1)), name=f"conv{i}")(x)
            frames = -(-frames // 2)
            x = zero_outside(nn.relu(x), frames)
        x = x.reshape(*x.shape[:2], -1)  # B T M' C -> B T (M' C)
        return nn.Dense(self.width, name="out")(x), frames


@ranges.checked(dropout=ranges.RATE)
class FeedForward(nn.Module):
    """Norm, then D -> 4 D -> D with Swish (section 2.3)."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], train: bool = False) -> Float[Array, "B T D"]:
        hidden = nn.swish(nn.Dense(4 * x.shape[-1], name="up")(_norm("norm")(x)))
        hidden = nn.Dropout(self.dropout, deterministic=not train, name="hidden_dropout")(hidden)
        out = nn.Dense(x.shape[-1], name="down")(hidden)
        return nn.Dropout(self.dropout, deterministic=not train, name="dropout")(out)


@ranges.checked(num_heads=ranges.COUNT, dropout=ranges.RATE)
class RelativeSelfAttention(nn.Module):
    """Norm, then self-attention with relative positions (section 2.1).

    score(t, s) = ((q_t + u) k_s + (q_t + v) r_{t-s}) / sqrt(d), with r a linear function of the sinusoids of t - s (Dai
    et al. 2019, https://arxiv.org/abs/1901.02860).
    """

    num_heads: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T 1"], train: bool = False
    ) -> Float[Array, "B T D"]:
        B, T, D = x.shape
        H, d = self.num_heads, D // self.num_heads
        qkv = nn.Dense(3 * D, name="qkv")(_norm("norm")(x)).reshape(B, T, H, 3, d)
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
    """Sines and cosines of the distances T - 1 down to 1 - T, [2 T - 1, D] (Vaswani et al. 2017, section 3.5)."""
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


@ranges.checked(kernel=ranges.COUNT, dropout=ranges.RATE)
class ConvolutionModule(nn.Module):
    """Norm, gated linear unit, depthwise convolution over time, norm, Swish and a linear layer (section 2.2)."""

    kernel: int
    norm: Norm = batch_norm
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T 1"], train: bool = False
    ) -> Float[Array, "B T D"]:
        D = x.shape[-1]
        x = nn.glu(nn.Dense(2 * D, name="gated")(_norm("norm")(x)))
        x = Depthwise(self.kernel, name="depthwise")(jnp.where(mask, x, 0))
        x = nn.swish(self.norm(train, name="depthwise_norm")(x, mask=mask))
        x = nn.Dense(D, name="out")(x)
        return nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)


@ranges.checked(kernel=ranges.COUNT)
class Depthwise(nn.Module):
    """Depthwise convolution over time: y[t, c] = sum over k of w[k, c] x[t + k - K // 2, c] + b[c].

    Computed as K shifted products. For K = 15 and inputs of 32 x 125 x 96, forward and backward take 8 to 25 ms of CPU
    time, where a grouped convolution takes 61.
    """

    kernel: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        init = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", in_axis=0, out_axis=(), batch_axis=1)
        kernel = self.param("kernel", init, (self.kernel, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        low = self.kernel // 2
        padded = jnp.pad(x, ((0, 0), (low, self.kernel - 1 - low), (0, 0)))
        return sum(
            (padded[:, k : k + x.shape[1]] * kernel[k][None, None] for k in range(self.kernel)), bias[None, None]
        )


@ranges.checked(num_heads=ranges.COUNT, kernel=ranges.COUNT, dropout=ranges.RATE)
class Block(nn.Module):
    """Residual branches feed_forward / 2, attention, convolution and feed_forward / 2, then a norm (section 2.4)."""

    num_heads: int
    kernel: int
    norm: Norm = batch_norm
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T 1"], train: bool = False
    ) -> Float[Array, "B T D"]:
        x = x + FeedForward(self.dropout, name="feed_forward1")(x, train) / 2
        x = x + RelativeSelfAttention(self.num_heads, self.dropout, name="attention")(x, mask, train)
        x = x + ConvolutionModule(self.kernel, self.norm, self.dropout, name="convolution")(x, mask, train)
        x = x + FeedForward(self.dropout, name="feed_forward2")(x, train) / 2
        return _norm("norm")(x)


@ranges.checked(
    num_tokens=ranges.COUNT,
    num_layers=ranges.COUNT,
    width=ranges.COUNT,
    num_heads=ranges.COUNT,
    kernel=ranges.COUNT,
    channels=ranges.COUNT,
    dropout=ranges.RATE,
)
class Conformer(nn.Module):
    """Spectrogram to logits of tokens, with one output for four frames.

    Args:
      num_tokens: Number of tokens K, including the blank.
      num_layers: Number of blocks.
      width: Model dimension D, a multiple of `num_heads`.
      num_heads: Number of attention heads.
      kernel: Kernel size of the depthwise convolutions, in frames.
      channels: Number of channels of the subsampling. None means `width`, as in the paper.
      norm: Constructor of the convolution modules' normalization layers; see `deeplab.nn.norm`.
      dropout: Dropout rate of branches, hidden units and attention probabilities; may be a tracer.
      remat: Policy of the activations that a block stores for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> model = Conformer(num_tokens=11, **VARIANTS["test"])
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 40, 8)), jnp.array([40, 25]))
      >>> logits.shape
      (2, 10, 11)
    """

    rules = RULES

    num_tokens: int
    num_layers: int
    width: int
    num_heads: int
    kernel: int
    channels: int | None = None
    norm: Norm = batch_norm
    dropout: float = 0.0
    remat: str = "none"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B F M"], frames: Int[Array, " B"], train: bool = False
    ) -> Float[Array, "B T K"]:
        x, frames = Subsampling(self.width, self.channels or self.width, name="subsampling")(x, frames)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        mask = inside(x, frames)
        for i in range(1, self.num_layers + 1):
            block = remat(Block, self.remat)
            x = block(self.num_heads, self.kernel, self.norm, self.dropout, name=f"block{i}")(x, mask, train)
        return nn.Dense(self.num_tokens, name="head")(x)


# Gulati et al. 2020, table 1; "tiny" for two CPU cores.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 1, "width": 8, "num_heads": 2, "kernel": 3},
    "tiny": {"num_layers": 2, "width": 64, "num_heads": 4, "kernel": 15, "channels": 16},
    "small": {"num_layers": 16, "width": 144, "num_heads": 4, "kernel": 32},
    "medium": {"num_layers": 16, "width": 256, "num_heads": 4, "kernel": 32},
    "large": {"num_layers": 17, "width": 512, "num_heads": 8, "kernel": 32},
}
