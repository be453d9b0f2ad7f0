"""Recurrent network over segments of a time series.

Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; segments instead of single times, and
separately for each channel: Lin et al. 2023, "SegRNN", https://arxiv.org/abs/2308.11200.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.recurrent.layers import LSTM
from deeplab.nn.series import Normalize, by_channel, by_instance

VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "segment": 4, "num_layers": 2},
    "day": {"width": 128, "segment": 24},
    # Lin et al. 2023, section 4.1: segments of 48, width 512; their cell is a GRU, their forecast made by segments.
    "segrnn": {"width": 512, "segment": 48},
}

RULES = (
    (r"(input|recurrent)_kernel", P(None, "model")),
    (r"embed/kernel", P(None, "model")),
    (r"head/kernel", P("model", None)),
)


@ranges.checked(
    horizon=ranges.COUNT,
    outputs=ranges.COUNT,
    width=ranges.COUNT,
    segment=ranges.COUNT,
    num_layers=ranges.COUNT,
    dropout=ranges.RATE,
)
class LSTMForecaster(nn.Module):
    """Embedded segments of each channel's history through LSTM layers, and a linear layer on the last output.

    Steps of a segment make the recurrence short: a history of 512 hours has 21 steps of 24 hours. The first 8 hours,
    less than a segment, are dropped.

    Args:
      horizon: Forecast horizon H.
      outputs: Number of outputs Q per time.
      width: Number of units of the embedding and the LSTM layers.
      segment: Length of a segment. 1 gives the plain recurrence.
      num_layers: Number of LSTM layers.
      dropout: Dropout rate of the last output; may be a tracer.
      normalize: Normalization of the history, inverted in the forecast; see `deeplab.nn.series`.

    Raises:
      ValueError: The history is shorter than a segment.

    Example:
      >>> import jax
      >>> model = LSTMForecaster(horizon=6, width=8, segment=12)
      >>> forecast, _ = jax.jit(model.init_with_output)(jax.random.key(0), jax.numpy.ones((2, 24, 3)))
      >>> forecast.shape
      (2, 6, 3, 1)
    """

    rules = RULES

    horizon: int
    outputs: int = 1
    width: int = 128
    segment: int = 24
    num_layers: int = 1
    dropout: float = 0.0
    normalize: Normalize = by_instance

    @nn.compact
    def __call__(self, history: Float[Array, "B L C"], train: bool = False) -> Float[Array, "B H C Q"]:
        B, L, C = history.shape
        steps = L // self.segment
        if not steps:
            raise ValueError(f"a history of {L} times is shorter than a segment of {self.segment}")
        x, restore = self.normalize(history)
        x = (
            x[:, L - steps * self.segment :].transpose(0, 2, 1).reshape(B * C, steps, self.segment)
        )  # B T C -> (B C) T S
        x = nn.relu(nn.Dense(self.width, name="embed")(x))
        for i in range(self.num_layers):
            x, _ = LSTM(self.width, name=f"lstm{i + 1}")(x)
        x = x[:, -1].reshape(B, C, self.width)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        forecast = nn.Dense(self.horizon * self.outputs, name="head")(x)
        return restore(by_channel(forecast, self.horizon, self.outputs))
