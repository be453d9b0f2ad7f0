"""LeNet-5.

LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition", section II.B,
http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf. As it is written today: each map of the second convolution reads
all maps of the first, squares are averaged without parameters, and the classes are linear.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.activations import lecun_tanh
from deeplab.nn.parts.convolution import Elementwise

RULES = (
    (r"conv\d/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"hidden1/kernel", P(None, "model")),
    (r"(hidden2|classes)/kernel", P("model", None)),
)


@ranges.checked(num_classes=ranges.COUNT, widths=ranges.COUNT, hidden=ranges.COUNT)
class LeNet(nn.Module):
    """Two convolutions of 5 x 5, each with a mean over squares of 2 x 2, two hidden layers, and a linear one.

    The first convolution keeps the sides: images of 28 x 28 are read as the paper's, which are centered in 32 x 32.

    Args:
      num_classes: Number of classes K.
      widths: Numbers of channels of the two convolutions.
      hidden: Numbers of units of the two hidden layers.
      activation: Elementwise activation.

    Example:
      >>> import jax
      >>> LeNet().init_with_output(jax.random.key(0), jax.numpy.ones((2, 28, 28, 1)))[0].shape
      (2, 10)
    """

    rules = RULES

    num_classes: int = 10
    widths: tuple[int, int] = (6, 16)
    hidden: tuple[int, int] = (120, 84)
    activation: Elementwise = lecun_tanh

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B K"]:
        del train
        for number, (width, padding) in enumerate(zip(self.widths, (2, 0), strict=True), start=1):
            x = self.activation(nn.Conv(width, (5, 5), padding=padding, name=f"conv{number}")(x))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        for number, units in enumerate(self.hidden, start=1):
            x = self.activation(nn.Dense(units, name=f"hidden{number}")(x))
        return nn.Dense(self.num_classes, name="classes")(x)


# LeCun et al. 1998, figure 2.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"widths": (2, 4), "hidden": (8, 8)},
    "5": {},
}
