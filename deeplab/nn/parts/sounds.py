"""From sounds to the residual stream of an encoder."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.nn.activations import gelu
from deeplab.nn.attention.cache import Reading
from deeplab.nn.parts.feed_forward import Elementwise
from deeplab.nn.transformer import INIT


def waves(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Float[Array, "T D"]:
    """Sines beside cosines of wavelengths from 2 pi to 20000 pi, both included, as the first positions of a table.

    Example:
      >>> [[round(float(x), 2) for x in row] for row in waves(jax.random.key(0), (2, 4))]
      [[0.0, 0.0, 1.0, 1.0], [0.84, 0.0, 0.54, 1.0]]
    """
    del key
    half = shape[1] // 2
    rates = 10_000.0 ** (-jnp.arange(half) / max(half - 1, 1))
    angles = jnp.arange(shape[0])[:, None] * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1).astype(dtype)


@ranges.checked(width=ranges.COUNT, size=ranges.COUNT, dropout=ranges.RATE)
class SpectrogramEmbedding(nn.Module):
    """gelu(W_2 * gelu(W_1 * x)) and a position for each second frame, of spectrograms of one length.

    Args:
      width: D.
      size: T, number of positions; spectrograms have twice as many frames.
      dropout: Probability of dropping a component in training; may be a tracer.

    Raises:
      UserError: Spectrograms of another length; or a mask, since silence is read, too.

    Example:
      >>> layer = SpectrogramEmbedding(width=8, size=5)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 10, 4)))[0][0].shape
      (1, 5, 8)

    Source: Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 2.2.
    """

    width: int
    size: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, features: Float[Array, "B F M"], mask: None = None, train: bool = False
    ) -> tuple[Float[Array, "B T D"], Reading]:
        if features.shape[1] != 2 * self.size or mask is not None:
            said = f"have {features.shape[1]} frames" if mask is None else "came with a mask"
            raise UserError(f"spectrograms {said}, expected {2 * self.size} frames, of silence after the end, and none")
        x = gelu(nn.Conv(self.width, (3,), padding=1, name="conv1")(features))
        x = gelu(nn.Conv(self.width, (3,), (2,), padding=1, name="conv2")(x))
        x = x + self.param("positions", waves, (self.size, self.width))[None]
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return x, Reading(jnp.arange(self.size))


class WaveformFeatures(nn.Module):
    """Convolutions of a waveform, activation(norm(W * x)) each, without padding.

    Args:
      convs: Of each convolution the number of channels, of samples or frames that one reads, and their distance.
      norm_each: Whether a layer norm follows each convolution; else each channel of the first alone is normalized, over
        the whole of the sound and its padding.
      use_bias: Whether the convolutions have biases.
      activation: Function of the results.

    Example:
      >>> layer = WaveformFeatures(((8, 10, 5), (8, 3, 2)))
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 100)))[0].shape, layer.frames(100)
      ((1, 9, 8), 9)

    Source: Baevski et al. 2020, https://arxiv.org/abs/2006.11477, sections 2 and 4.2.
    """

    convs: tuple[tuple[int, int, int], ...]
    norm_each: bool = False
    use_bias: bool = False
    activation: Elementwise = gelu

    @nn.compact
    def __call__(self, sound: Float[Array, "B N"]) -> Float[Array, "B T C"]:
        x, how = sound[..., None], {"use_bias": self.use_bias, "kernel_init": nn.initializers.he_normal()}
        for i, (width, kernel, stride) in enumerate(self.convs, start=1):
            x = nn.Conv(width, (kernel,), (stride,), "VALID", **how, name=f"conv{i}")(x)
            if self.norm_each:
                x = nn.LayerNorm(1e-5, use_fast_variance=False, name=f"norm{i}")(x)
            elif i == 1:
                x = nn.GroupNorm(width, epsilon=1e-5, use_fast_variance=False, name=f"norm{i}")(x)
            x = self.activation(x)
        return x

    def frames(self, samples: Any) -> Any:
        """Number of frames of so many samples; of one example or of each."""
        for _, kernel, stride in self.convs:
            samples = (samples - kernel) // stride + 1
        return samples


@ranges.checked(kernel=ranges.COUNT, groups=ranges.COUNT)
class ConvolvedPositions(nn.Module):
    """activation(W * x + b), by which a position knows its neighbors; a tap of W is length * direction / |direction|.

    Args:
      kernel: Number of taps.
      groups: Number of groups of channels that know nothing of each other.
      activation: Function of the result.

    Example:
      >>> ConvolvedPositions(kernel=4, groups=2).init_with_output(jax.random.key(0), jnp.ones((1, 5, 6)))[0].shape
      (1, 5, 6)

    Source: Mohamed et al. 2019, https://arxiv.org/abs/1904.11660; weight norm: Salimans and Kingma 2016,
      https://arxiv.org/abs/1602.07868.
    """

    kernel: int = 128
    groups: int = 16
    activation: Elementwise = gelu

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        K, D = self.kernel, x.shape[-1]
        init = nn.initializers.normal(2 / (K * D) ** 0.5)
        direction: Any = self.param("direction", init, (K, D // self.groups, D))
        size = jnp.sqrt(jnp.sum(direction**2, axis=(1, 2), keepdims=True))
        length = self.param("length", lambda key, shape: jnp.full(shape, 2 * (D / K / self.groups) ** 0.5), (K,))
        y = jax.lax.conv_general_dilated(
            x, direction * (length[:, None, None] / size), (1,), [(K // 2, (K - 1) // 2)],
            dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=self.groups,
        )  # fmt: skip
        return self.activation(y + self.param("bias", nn.initializers.zeros, (D,))[None, None])


@ranges.checked(width=ranges.COUNT, dropout=ranges.RATE)
class WaveformEmbedding(nn.Module):
    """x + positions(x), x = norm(features(sound)) W + b, and a norm of the sum, if any.

    Args:
      features: Module from the waveform to frames; see `WaveformFeatures`.
      positions: Module from the stream to what is added to it.
      width: D.
      norm: Norm of the frames.
      sum_norm: Norm of the sum, if any.
      masks: Whether there is a vector that stands for a frame that is hidden.
      dropout: Probability of dropping a component in training; may be a tracer.

    Example:
      >>> features, norms = WaveformFeatures(((8, 10, 5), (8, 3, 2))), (nn.LayerNorm(), nn.LayerNorm())
      >>> layer = WaveformEmbedding(features, ConvolvedPositions(4, 2), 6, *norms)
      >>> (x, reading), _ = layer.init_with_output(jax.random.key(0), jnp.ones((1, 100)), jnp.array([50]))
      >>> x.shape, reading.segment_ids.tolist()
      ((1, 9, 6), [[1, 1, 1, 1, 0, 0, 0, 0, 0]])

    Source: Baevski et al. 2020, https://arxiv.org/abs/2006.11477.
    """

    features: WaveformFeatures
    positions: nn.Module
    width: int
    norm: nn.Module
    sum_norm: nn.Module | None
    masks: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        sound: Float[Array, "B N"],
        lengths: Int[Array, " B"] | None = None,
        hidden: Bool[Array, "B T"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B T D"], Reading]:
        """The stream, and which of its frames are no padding.

        Args:
          sound: Waveforms.
          lengths: Number of samples of each; all of them when None.
          hidden: True where a frame is hidden, in a model that has masks.
          train: Whether to drop components.
        """
        x = nn.Dense(self.width, kernel_init=INIT, name="projection")(self.norm(self.features(sound)))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        if self.masks:
            token: Any = self.param("mask", nn.initializers.uniform(1.0), (self.width,))
            x = x if hidden is None else jnp.where(hidden[..., None], token[None, None], x)
        segments = None
        if lengths is not None:
            segments = (jnp.arange(x.shape[1])[None] < self.features.frames(lengths)[:, None]).astype(jnp.int32)
            x = jnp.where(segments[..., None] > 0, x, 0)
        x = x + self.positions(x)
        x = x if self.sum_norm is None else self.sum_norm(x)
        x = nn.Dropout(self.dropout, deterministic=not train, name="sum_dropout")(x)
        return x, Reading(jnp.arange(x.shape[1]), 0, segments)
