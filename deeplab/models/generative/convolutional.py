"""Small convolutional networks of images: encoders and decoders by halving and doubling, for codes and adversaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.upsampling import Upsampling

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"widths": (4, 8)},
    "small": {"widths": (32, 64)},
    # van den Oord et al. 2017, section 4.1: 256 hidden units, a quarter of the size.
    "2017": {"widths": (256, 256)},
}

RULES = (
    (r"residual\d+/conv1/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"residual\d+/conv1/bias", P("model")),
    (r"residual\d+/conv2/kernel", P(None, None, "model", None)),
)


class Residual(nn.Module):
    """x + conv(act(conv(act(x)))), without a norm: the second kernel starts as nearly nothing."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        y = nn.Conv(x.shape[-1], (3, 3), name="conv1")(nn.leaky_relu(x, 0.2))
        small = nn.initializers.variance_scaling(0.1, "fan_in", "normal")
        return x + nn.Conv(x.shape[-1], (3, 3), kernel_init=small, name="conv2")(nn.leaky_relu(y, 0.2))


@ranges.checked(size=ranges.COUNT, widths=ranges.COUNT)
class ConvEncoder(nn.Module):
    """Images to maps of half the size for each width, [B, H / 2^n, W / 2^n, D].

    Args:
      size: D.
      widths: Numbers of channels, from fine to coarse.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> ConvEncoder(size=8, widths=(8, 16)).init_with_output(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))[0].shape
      (1, 4, 4, 8)
    """

    rules = RULES

    size: int
    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B h w D"]:
        del train
        for i, width in enumerate(self.widths):
            x = nn.Conv(width, (4, 4), (2, 2), name=f"down{i}")(x)
            x = Residual(name=f"residual{i}")(x)
        return nn.Dense(self.size, name="out")(nn.leaky_relu(x, 0.2))


@ranges.checked(channels=ranges.COUNT, widths=ranges.COUNT)
class ConvDecoder(nn.Module):
    """Maps to images of twice the size for each width, [B, H 2^n, W 2^n, C].

    Args:
      channels: C.
      widths: Numbers of channels, from coarse to fine.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> ConvDecoder(channels=3, widths=(16, 8)).init_with_output(jax.random.key(0), jnp.zeros((1, 4, 4, 8)))[0].shape
      (1, 16, 16, 3)
    """

    rules = RULES

    channels: int
    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"], train: bool = False) -> Float[Array, "B H W C"]:
        del train
        x = nn.Dense(self.widths[0], name="into")(x)
        for i, width in enumerate(self.widths):
            x = Residual(name=f"residual{i}")(x)
            x = Upsampling(width, name=f"up{i}")(nn.leaky_relu(x, 0.2))
        return nn.Conv(self.channels, (3, 3), name="out")(nn.leaky_relu(x, 0.2))


@ranges.checked(shape=ranges.COUNT, widths=ranges.COUNT)
class Generator(nn.Module):
    """Latent vectors to images in [0, 1].

    Args:
      shape: (H, W, C); the sides are multiples of 2 for each width.
      widths: Numbers of channels, from coarse to fine.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Generator((8, 8, 1), widths=(8, 4))
      >>> jax.jit(model.init_with_output)(jax.random.key(0), jnp.ones((2, 5)))[0].shape
      (2, 8, 8, 1)
    """

    rules = RULES

    shape: Sequence[int]
    widths: Sequence[int]

    @nn.compact
    def __call__(self, z: Float[Array, "B D"], train: bool = False) -> Float[Array, "B H W C"]:
        H, W, C = self.shape
        h, w = H // 2 ** len(self.widths), W // 2 ** len(self.widths)
        x = nn.Dense(h * w * self.widths[0], name="coarse")(z).reshape(-1, h, w, self.widths[0])
        return nn.sigmoid(ConvDecoder(C, self.widths, name="images")(x, train))


@ranges.checked(widths=ranges.COUNT)
class Critic(nn.Module):
    """Images to a number, [B]: the higher, the more real.

    Args:
      widths: Numbers of channels, from fine to coarse.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> Critic(widths=(8, 16)).init_with_output(jax.random.key(0), jnp.zeros((2, 16, 16, 3)))[0].shape
      (2,)
    """

    rules = RULES

    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, " B"]:
        x = ConvEncoder(self.widths[-1], self.widths, name="images")(2 * x - 1, train)
        return nn.Dense(1, name="score")(nn.leaky_relu(x, 0.2).reshape(len(x), -1))[:, 0]
