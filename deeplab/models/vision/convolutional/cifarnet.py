"""The network of airbench, for fast training on CIFAR-10.

Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", https://arxiv.org/abs/2404.00498, after Page 2018,
"How to train your ResNet", https://myrtle.ai/learn/how-to-train-your-resnet. The first layer is frozen and whitens
patches of 2 x 2 pixels. In airbench it is computed from the training images. Here it is a cosine transform, which needs
no data: its terms are nearly uncorrelated in photographs (Ahmed et al. 1974,
https://doi.org/10.1109/T-C.1974.223784; on CIFAR-10 no correlation is above 0.4), and a norm scales them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.norm import Norm, batch_norm
from deeplab.nn.pooling import max_pool

Activation = Callable[[jax.Array], jax.Array]

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"widths": (4, 8)},
    # For a CPU: a third of the operations of airbench94, and ReLU, which saves a fifth of the time.
    "small": {"widths": (32, 128, 256), "activation": nn.relu},
    # Jordan 2024, section 3 and appendix A.
    "airbench94": {"widths": (64, 256, 256)},
    "airbench95": {"widths": (128, 384, 384)},
}

RULES = (
    (r"conv\d/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"head/kernel", P("model", None)),
)


@ranges.checked(num_classes=ranges.COUNT, widths=ranges.COUNT)
class CifarNet(nn.Module):
    """Frozen patch transform, stages of two convolutions, maximum over space and a scaled linear layer.

    With p the transform of the patches, h_0 = activation(norm([p, -p])). Each stage is
    activation(norm(W_2 * activation(norm(maxpool(W_1 * h))))); logits = V max(h_n) / 9.

    Args:
      num_classes: Number of classes K.
      widths: Numbers of channels of the stages. Each stage halves the side, rounding down.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`. Gains have no effect before a normalized
        convolution, and airbench has none: `functools.partial(batch_norm, use_scale=False)`.
      activation: Elementwise activation.

    Example:
      >>> model = CifarNet(num_classes=10, widths=(8, 16))
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 16, 16, 3)))
      >>> logits.shape
      (2, 10)
    """

    rules = RULES

    num_classes: int
    widths: Sequence[int] = (64, 256, 256)
    norm: Norm = batch_norm
    activation: Activation = nn.gelu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B K"]:
        x = self.norm(train, name="patch_norm")(patch_cosines(x))
        x = self.activation(jnp.concatenate([x, -x], axis=-1))
        for s, width in enumerate(self.widths, start=1):
            x = Stage(width, self.norm, self.activation, name=f"stage{s}")(x, train)
        # At this scale the head starts near the uniform distribution and learns as fast as the convolutions.
        return nn.Dense(self.num_classes, use_bias=False, name="head")(jnp.max(x, axis=(1, 2))) / 9


@ranges.checked(width=ranges.COUNT)
class Stage(nn.Module):
    """3 x 3 convolution, max pooling, and a second 3 x 3 convolution.

    Example:
      >>> jax.jit(Stage(8).init_with_output)(jax.random.key(0), jnp.ones((2, 9, 9, 4)))[0].shape
      (2, 4, 4, 8)
    """

    width: int
    norm: Norm = batch_norm
    activation: Activation = nn.gelu

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B H2 W2 D"]:
        for i, window in enumerate((2, 1), start=1):
            x = nn.Conv(self.width, (3, 3), use_bias=False, kernel_init=partly_identity, name=f"conv{i}")(x)
            x = self.activation(self.norm(train, name=f"norm{i}")(max_pool(x, window)))
        return x


def patch_cosines(x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 C4"]:
    """Orthonormal cosine transform of each 2 x 2 x C patch.

    For C = 3 the terms over channels are brightness, red minus blue, and green minus both.

    Example:
      >>> patch_cosines(jnp.ones((1, 4, 4, 3))).shape
      (1, 3, 3, 12)
    """
    two, channels = _cosines(2), _cosines(x.shape[-1])
    kernel = np.einsum("ah,bw,dc->hwcabd", two, two, channels)
    kernel = jnp.asarray(kernel.reshape(2, 2, x.shape[-1], -1), x.dtype)  # h w C (a b d)
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=dimensions)


def _cosines(size: int) -> np.ndarray:
    """Orthonormal DCT-II, [frequency, position]."""
    rows = np.cos(np.pi * np.arange(size)[:, None] * (2 * np.arange(size)[None, :] + 1) / (2 * size))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def partly_identity(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Initial kernel [h, w, in, out] that is the identity in the first channels, and random in the others.

    Section 3.3 of the paper. The random entries are uniform with variance 1 / (3 h w in), as PyTorch's.

    Example:
      >>> kernel = partly_identity(jax.random.key(0), (3, 3, 2, 4))
      >>> kernel[1, 1, :, :2].tolist(), float(abs(kernel[0, 0, :, :2]).max())
      ([[1.0, 0.0], [0.0, 1.0]], 0.0)
    """
    height, width, inputs, outputs = shape
    kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")(key, tuple(shape), dtype)
    same = min(inputs, outputs)
    identity = jnp.zeros((height, width, inputs, same), dtype).at[height // 2, width // 2].set(jnp.eye(inputs, same))
    return kernel.at[..., :same].set(identity)
