"""Linear forecasts of time series.

Zeng, Chen, Zhang and Xu 2022, "Are transformers effective for time series forecasting?",
https://arxiv.org/abs/2205.13504; with reversible instance normalization: Li, Qi, Li and Xu 2023, "Revisiting
long-term time series forecasting: an investigation on linear mapping", https://arxiv.org/abs/2305.10721.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.series import Normalize, as_is, by_channel, by_instance, from_last, moving_average

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"window": 3},
    # Zeng et al. 2022, section 4; the window of the moving average is the default of their code.
    "linear": {"window": 1, "normalize": as_is},
    "nlinear": {"window": 1, "normalize": from_last},
    "dlinear": {"window": 25, "normalize": as_is},
    # Li et al. 2023, section 3.
    "rlinear": {"window": 1, "normalize": by_instance},
}

RULES = ((r"(trend|seasonal)$", P(None, "model")),)  # [L, H Q]


@ranges.checked(horizon=ranges.COUNT, outputs=ranges.COUNT, window=ranges.COUNT)
class DLinear(nn.Module):
    """A channel's forecast as a linear function of its history, shared by all channels.

    With the moving average A x (trend) and the remainder x - A x (seasonal), the forecast is
    A x W_t + (x - A x) W_s + b. This equals one product with W_s + A (W_t - W_s): the decomposition changes how the
    weights are learned, not which functions they represent. Both kernels start as 1 / L, so that the first forecast is
    the mean of the history.

    Args:
      horizon: Forecast horizon H.
      outputs: Number of outputs Q per time: 1, or the number of quantiles.
      window: Window of the moving average, an odd number. 1 means no decomposition.
      normalize: Normalization of the history, inverted in the forecast; see `deeplab.nn.series`.

    Example:
      >>> import jax
      >>> forecast, _ = jax.jit(DLinear(horizon=6).init_with_output)(jax.random.key(0), jnp.ones((2, 24, 3)))
      >>> forecast.shape
      (2, 6, 3, 1)
    """

    rules = RULES

    horizon: int
    outputs: int = 1
    window: int = 25
    normalize: Normalize = by_instance

    @nn.compact
    def __call__(self, history: Float[Array, "B L C"], train: bool = False) -> Float[Array, "B H C Q"]:
        del train
        length, size = history.shape[1], self.horizon * self.outputs
        x, restore = self.normalize(history)
        mean = nn.initializers.constant(1 / length)
        kernel = self.param("seasonal", mean, (length, size))
        if self.window > 1:
            trend = self.param("trend", mean, (length, size))
            kernel = kernel + jnp.asarray(moving_average(length, self.window), x.dtype) @ (trend - kernel)
        bias = self.param("bias", nn.initializers.zeros, (size,))
        forecast = x.transpose(0, 2, 1) @ kernel + bias[None, None]  # B L C -> B C (H Q)
        return restore(by_channel(forecast, self.horizon, self.outputs))
