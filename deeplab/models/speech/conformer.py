"""Conformer: a transformer with convolutions, for speech recognition.

Gulati et al. 2020, "Conformer: convolution-augmented transformer for speech recognition",
https://arxiv.org/abs/2005.08100. This is the encoder with a linear layer, for connectionist temporal classification.
Padding has no effect: attention, convolutions and normalization exclude the frames beyond an example's length.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.models.speech.relative_attention import RelativeSelfAttention
from deeplab.nn.attention.masking import inside, zero_outside
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.remat import remat

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
    """Two 3 x 3 convolutions of stride 2 and a linear layer, for a quarter of the frames (section 2).

    Example:
      >>> import jax
      >>> sounds, frames = jnp.ones((2, 40, 6)), jnp.array([40, 25])
      >>> (x, frames), _ = jax.jit(Subsampling(8, channels=4).init_with_output)(jax.random.key(0), sounds, frames)
      >>> x.shape, frames.tolist()
      ((2, 10, 8), [10, 7])
    """

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
    """Norm, then D -> 4 D -> D with Swish (section 2.3).

    Example:
      >>> import jax
      >>> shapes = jax.eval_shape(FeedForward().init, jax.random.key(0), jnp.ones((1, 5, 4)))["params"]
      >>> shapes["up"]["kernel"].shape, shapes["down"]["kernel"].shape
      ((4, 16), (16, 4))
    """

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], train: bool = False) -> Float[Array, "B T D"]:
        hidden = nn.swish(nn.Dense(4 * x.shape[-1], name="up")(_norm("norm")(x)))
        hidden = nn.Dropout(self.dropout, deterministic=not train, name="hidden_dropout")(hidden)
        out = nn.Dense(x.shape[-1], name="down")(hidden)
        return nn.Dropout(self.dropout, deterministic=not train, name="dropout")(out)


@ranges.checked(kernel=ranges.COUNT, dropout=ranges.RATE)
class ConvolutionModule(nn.Module):
    """Norm, gated linear unit, depthwise convolution over time, norm, Swish and a linear layer (section 2.2).

    Example:
      >>> import jax
      >>> x, mask = jnp.ones((2, 5, 4)), jnp.ones((2, 5, 1), bool)
      >>> jax.eval_shape(ConvolutionModule(kernel=3).init_with_output, jax.random.key(0), x, mask)[0].shape
      (2, 5, 4)
    """

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

    Example:
      >>> ones = {"params": {"kernel": jnp.ones((3, 1)), "bias": jnp.zeros(1)}}
      >>> Depthwise(3).apply(ones, jnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
      [1.0, 3.0, 6.0, 5.0]
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
    """Residual branches feed_forward / 2, attention, convolution and feed_forward / 2, then a norm (section 2.4).

    Example:
      >>> import jax
      >>> x, mask = jnp.ones((2, 5, 4)), jnp.ones((2, 5, 1), bool)
      >>> sorted(jax.eval_shape(Block(num_heads=2, kernel=3).init, jax.random.key(0), x, mask)["params"])
      ['attention', 'convolution', 'feed_forward1', 'feed_forward2', 'norm']
    """

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
      >>> import jax
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
