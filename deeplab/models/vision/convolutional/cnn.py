"""Small convolutional network.

LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition",
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf, with ReLU, max pooling and 3 x 3 kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.norm import Norm, no_norm
from deeplab.nn.pooling import max_pool

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"widths": (4,), "hidden": 8},
    # Channels and hidden units of LeNet-5: LeCun et al. 1998, figure 2 (C1, C3 and C5, F6 as one layer of 84).
    "lenet": {"widths": (6, 16), "hidden": 84},
    # The network of Flax's MNIST example, https://github.com/google/flax/tree/main/examples/mnist.
    "32-64": {"widths": (32, 64), "hidden": 256},
}

RULES = (
    (r"conv\d+/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"hidden/kernel", P(None, "model")),
    (r"hidden/bias", P("model")),
    (r"head/kernel", P("model", None)),
)


@ranges.checked(num_classes=ranges.COUNT, widths=ranges.COUNT, hidden=ranges.COUNT, dropout=ranges.RATE)
class CNN(nn.Module):
    """3 x 3 convolutions with 2 x 2 max pooling, then one hidden layer.

    h_0 = x, h_i = activation(maxpool(norm(W_i * h_{i-1}))), logits = W dropout(activation(V flatten(h_n) + b)) + c.

    Args:
      num_classes: Number of classes K.
      widths: Numbers of channels of the convolutions. Each pooling halves the side, rounding down.
      hidden: Number of units of the hidden layer.
      activation: Elementwise activation.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`.
      dropout: Dropout rate of hidden units; may be a tracer.

    Example:
      >>> import jax
      >>> model = CNN(num_classes=10, widths=(8, 16), hidden=32)
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jax.numpy.ones((2, 28, 28, 1)))
      >>> logits.shape
      (2, 10)
    """

    rules = RULES

    num_classes: int
    widths: Sequence[int] = (32, 64)
    hidden: int = 256
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    norm: Norm = no_norm
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B K"]:
        init = nn.initializers.he_normal()
        for i, width in enumerate(self.widths, start=1):
            x = nn.Conv(width, (3, 3), kernel_init=init, name=f"conv{i}")(x)
            # A nondecreasing activation commutes with the maximum, so pooling first leaves a quarter to compute.
            x = self.activation(max_pool(self.norm(train, name=f"norm{i}")(x), 2))
        x = x.reshape(x.shape[0], -1)  # [B, H', W', C] -> [B, H'*W'*C]
        x = self.activation(nn.Dense(self.hidden, kernel_init=init, name="hidden")(x))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_classes, name="head")(x)
