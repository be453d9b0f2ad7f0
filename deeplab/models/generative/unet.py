"""The U-Net of diffusion models: residual blocks steered by time and class, with attention at the lowest resolution.

Ho, Jain and Abbeel 2020, "Denoising diffusion probabilistic models", https://arxiv.org/abs/2006.11239, appendix B; the
scale and shift of the norms: Dhariwal and Nichol 2021, https://arxiv.org/abs/2105.05233.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.models.generative.conditioning import NEARLY_ZERO, Condition
from deeplab.models.vision.segmentation.unet import pad_to_multiple
from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.nn.norm import group_norm
from deeplab.nn.upsampling import Upsampling, pixels_of, squares_of

# The sizes of the paper's networks for CIFAR-10 and for images of 256, with as many blocks; see their appendix B.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "multiples": (1, 2), "blocks": 1, "num_heads": 2, "patch": 2},
    "small": {"width": 32, "multiples": (1, 2), "blocks": 1, "patch": 2},
    "cifar10": {"width": 128, "multiples": (1, 2, 2, 2), "blocks": 2},
    "256": {"width": 128, "multiples": (1, 1, 2, 2, 4, 4), "blocks": 2},
}

RULES = (
    (r"conv\d/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"squares/kernel", P(None, "model")),
    (r"head/kernel", P(None, None, "model", None)),
)


@ranges.checked(
    width=ranges.COUNT,
    multiples=ranges.COUNT,
    blocks=ranges.COUNT,
    num_heads=ranges.COUNT,
    dropout=ranges.RATE,
    patch=ranges.COUNT,
)
class DiffusionUNet(nn.Module):
    """Noisy images and their times to what is predicted of them, of the image's shape.

    Args:
      width: Number of channels at the highest resolution, a multiple of 8.
      multiples: Number of channels at each resolution, divided by `width`; each is half of the one before.
      blocks: Number of residual blocks at each resolution, on the way down and on the way up.
      num_heads: Number of heads of the attention at the lowest resolution.
      num_classes: Number of classes K of a model that is told them; class K is "not told".
      dropout: Dropout rate within the blocks; may be a tracer.
      tempo: Radians of the fastest wave of the time; see `Condition`.
      patch: Height and width of the squares of pixels that are one place of the highest resolution.

    Example:
      >>> import jax
      >>> model = DiffusionUNet(**VARIANTS["test"], num_classes=10)
      >>> given = jnp.ones((2, 7, 8, 1)), jnp.array([0.1, 0.9]), jnp.array([3, 10])
      >>> jax.jit(model.init_with_output)(jax.random.key(0), *given)[0].shape
      (2, 7, 8, 1)
    """

    rules = RULES
    exact_inputs = (1,)

    width: int = 64
    multiples: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    num_heads: int = 4
    num_classes: int | None = None
    dropout: float = 0.0
    tempo: float = 1000.0
    patch: int = 1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        time: Float[Array, "B ..."],
        label: Int[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B H W C"]:
        """What is predicted.

        Args:
          x: Noisy images.
          time: A time of each, or several.
          label: Classes; not told when None.
          train: Whether to drop units.
        """
        shape, last = x.shape, len(self.multiples) - 1
        steer = Condition(4 * self.width, self.num_classes, self.tempo, name="condition")(time, label).astype(x.dtype)
        x = squares_of(pad_to_multiple(x, self.patch * 2**last), self.patch)
        x = nn.Conv(self.width, (3, 3), name="stem")(x)
        skips = [x]
        for level, multiple in enumerate(self.multiples):
            x = x if level == 0 else nn.avg_pool(x, (2, 2), (2, 2))
            for i in range(self.blocks):
                x = self._block(multiple, f"down{level}_{i}")(x, steer, train)
                skips.append(x)
        x = self._block(self.multiples[-1], "middle1")(x, steer, train)
        x = Spatial(self.num_heads, name="attention")(x)
        x = self._block(self.multiples[-1], "middle2")(x, steer, train)
        for level in reversed(range(last + 1)):
            for i in range(self.blocks):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = self._block(self.multiples[level], f"up{level}_{i}")(x, steer, train)
            x = x if level == 0 else Upsampling(self.width * self.multiples[level - 1], name=f"enlarge{level}")(x)
        x = nn.silu(group_norm(train, "norm")(jnp.concatenate([x, skips.pop()], axis=-1)))
        x = nn.Conv(self.patch**2 * shape[-1], (3, 3), kernel_init=NEARLY_ZERO, name="head")(x)
        return pixels_of(x, self.patch)[:, : shape[1], : shape[2]]

    def _block(self, multiple: int, name: str) -> Steered:
        return Steered(self.width * multiple, self.dropout, name=name)


@ranges.checked(width=ranges.COUNT, dropout=ranges.RATE)
class Steered(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))) (1 + scale) + shift)), with scale and shift made of a vector.

    Args:
      width: Number of channels.
      dropout: Dropout rate before the second convolution; may be a tracer.

    Example:
      >>> import jax
      >>> x, steer = jnp.ones((2, 6, 6, 8)), jnp.ones((2, 5))
      >>> jax.eval_shape(lambda: Steered(16).init_with_output(jax.random.key(0), x, steer, False))[0].shape
      (2, 6, 6, 16)
    """

    width: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], steer: Float[Array, "B S"], train: bool) -> Float[Array, "B H W D"]:
        y = nn.Conv(self.width, (3, 3), name="conv1")(nn.silu(group_norm(train, "norm1")(x)))
        scale, shift = jnp.split(nn.Dense(2 * self.width, name="steer")(steer)[:, None, None], 2, axis=-1)
        y = nn.silu(group_norm(train, "norm2")(y) * (1 + scale) + shift)
        y = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(y)
        y = nn.Conv(self.width, (3, 3), kernel_init=NEARLY_ZERO, name="conv2")(y)
        return y + (x if x.shape[-1] == self.width else nn.Dense(self.width, name="shortcut")(x))


@ranges.checked(num_heads=ranges.COUNT)
class Spatial(nn.Module):
    """x + attention of all places to all.

    Args:
      num_heads: Number of heads, which divides the channels.

    Example:
      >>> import jax
      >>> x = jax.random.normal(jax.random.key(1), (1, 3, 3, 8))
      >>> y, _ = jax.jit(Spatial(num_heads=2).init_with_output)(jax.random.key(0), x)
      >>> bool((abs(y - x) < 0.1).all())  # the output layer is nearly zero before training
      True
    """

    num_heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        places = group_norm(False, "norm")(x).reshape(len(x), -1, x.shape[-1])
        return x + SelfAttention(self.num_heads, out_init=NEARLY_ZERO, name="places")(places).reshape(x.shape)
