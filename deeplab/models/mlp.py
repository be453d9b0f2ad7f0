"""Multilayer perceptron.

Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors",
https://doi.org/10.1038/323533a0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.layout import IN_TURN
from deeplab.nn.norm import Norm, no_norm

# Hidden widths of the MNIST rows "2-layer NN, 300 hidden" to "3-layer NN, 500+300 hidden" in LeCun et al. 1998,
# figure 9, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"features": (16, 8)},
    "300": {"features": (300,)},
    "1000": {"features": (1000,)},
    "300-100": {"features": (300, 100)},
    "500-150": {"features": (500, 150)},
}

RULES = IN_TURN


@ranges.checked(num_classes=ranges.COUNT, features=ranges.COUNT, dropout=ranges.RATE)
class MLP(nn.Module):
    """Multilayer perceptron on flattened inputs.

    h_0 = x, h_i = dropout(activation(norm(W_i h_{i-1} + b_i))), logits = W h_n + b. The taps "activation1", ... are the
    h_i before dropout.

    Args:
      num_classes: Number of classes K.
      features: Widths of the hidden layers.
      activation: Activation, elementwise or gated; see `deeplab.nn.activations`.
      kernel_init: Initializer of the hidden layers' kernels.
      norm: Constructor of the normalization layers; see `deeplab.nn.norm`.
      dropout: Dropout rate of hidden units; may be a tracer.

    Example:
      >>> import jax
      >>> model = MLP(num_classes=10, features=(64,))
      >>> logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), jax.numpy.ones((2, 8, 8, 1)))
      >>> logits.shape
      (2, 10)
    """

    rules = RULES

    num_classes: int
    features: Sequence[int] = (256, 256)
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    norm: Norm = no_norm
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], train: bool = False) -> Float[Array, "B K"]:
        x = x.reshape(x.shape[0], -1)  # [B, H, W, C] -> [B, H*W*C]
        for i, features in enumerate(self.features, start=1):
            x = nn.Dense(features, kernel_init=self.kernel_init, name=f"hidden{i}")(x)
            x = self.activation(self.norm(train, name=f"norm{i}")(x))
            self.sow("intermediates", f"activation{i}", x)
            x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")(x)
        return nn.Dense(self.num_classes, name="head")(x)
