"""Deep Speech 2: convolutions over the spectrogram, then bidirectional recurrent layers.

Amodei et al. 2016, "Deep Speech 2: end-to-end speech recognition in English and Mandarin",
https://arxiv.org/abs/1512.02595. Padding has no effect: frames beyond an example's length are 0 before each layer, and
the normalization excludes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.masking import inside, zero_outside
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.recurrent.layers import GRU, Bidirectional

RULES = (
    (r"conv\d+/kernel", P(None, None, None, "model")),  # [time, frequency, in, out]
    (r"(input|recurrent)_kernel", P(None, "model")),
    (r"head/kernel", P("model", None)),
)


class Convolution(NamedTuple):
    """A convolution: its number of channels, and its odd kernel sizes and strides over (time, frequency).

    Example:
      >>> [layer.stride for layer in VARIANTS["tiny"]["convolutions"]]  # so one output for 2 * 2 frames
      [(2, 2), (2, 2)]
    """

    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]


@ranges.checked(num_tokens=ranges.COUNT, num_layers=ranges.COUNT, width=ranges.COUNT, dropout=ranges.RATE)
class DeepSpeech2(nn.Module):
    """Spectrogram to logits of tokens. The convolutions' strides give the number of frames per output.

    h = relu(norm(W * h)) for each convolution, then h = [GRU(norm(h)), backward GRU(norm(h))] for each layer.

    Args:
      num_tokens: Number of tokens K, including the blank.
      convolutions: Convolutions, in order.
      num_layers: Number of bidirectional layers.
      width: Number of hidden units of each direction.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`.
      dropout: Dropout rate of the inputs of the recurrent layers and of the last layer; may be a tracer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = DeepSpeech2(num_tokens=11, **VARIANTS["test"])
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 40, 8)), jnp.array([40, 25]))
      >>> logits.shape
      (2, 10, 11)
    """

    rules = RULES

    num_tokens: int
    convolutions: Sequence[Convolution]
    num_layers: int
    width: int
    norm: Norm = batch_norm
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B F M"], frames: Int[Array, " B"], train: bool = False
    ) -> Float[Array, "B T K"]:
        x = zero_outside(x[..., None], frames)  # [B, F, M, 1]
        for i, (width, kernel, stride) in enumerate(self.convolutions, start=1):
            pads = [(side // 2, side // 2) for side in kernel]
            init = nn.initializers.he_normal()
            x = nn.Conv(width, kernel, stride, pads, use_bias=False, kernel_init=init, name=f"conv{i}")(x)
            frames = -(-frames // stride[0])
            x = self.norm(train, name=f"conv_norm{i}")(x, mask=inside(x, frames))
            x = zero_outside(nn.relu(x), frames)
        x = x.reshape(*x.shape[:2], -1)  # B T M' C -> B T (M' C)
        for i in range(1, self.num_layers + 1):
            x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")(x)
            x = self.norm(train, name=f"norm{i}")(x, mask=inside(x, frames))
            directions = GRU(self.width, parent=None), GRU(self.width, parent=None)
            x = Bidirectional(*directions, name=f"recurrent{i}")(x, frames)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_tokens, name="head")(x)


# Sizes for two CPU cores. The paper's kernels are 11 frames by 41 or 21 bands, with 32 and 96 channels.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "convolutions": (Convolution(4, (3, 3), (2, 2)), Convolution(4, (3, 3), (2, 2))),
        "num_layers": 1,
        "width": 8,
    },
    "tiny": {
        "convolutions": (Convolution(16, (5, 5), (2, 2)), Convolution(32, (3, 3), (2, 2))),
        "num_layers": 1,
        "width": 128,
    },
}
