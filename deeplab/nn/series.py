"""Layers of time-series forecasters: invertible normalizations of the history, and moving averages."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Restore = Callable[[Float[Array, "B H C Q"]], Float[Array, "B H C Q"]]
"""Inverse of a normalization, for a forecast of H times with Q outputs each."""

Normalize = Callable[[Float[Array, "B L C"]], tuple[Float[Array, "B L C"], Restore]]
"""`history -> (normalized history, restore)`, separately for each channel of each example."""


def as_is(history: Float[Array, "B L C"]) -> tuple[Float[Array, "B L C"], Restore]:
    """No normalization.

    Example:
      >>> x, restore = as_is(jnp.ones((1, 2, 1)))
      >>> restore(3 * x[..., None]).ravel().tolist()
      [3.0, 3.0]
    """
    return history, lambda forecast: forecast


def from_last(history: Float[Array, "B L C"]) -> tuple[Float[Array, "B L C"], Restore]:
    """Subtracts the last value: x - x_L.

    Example:
      >>> x, restore = from_last(jnp.array([1.0, 3.0])[None, :, None])
      >>> x[0, :, 0].tolist(), float(restore(jnp.zeros((1, 1, 1, 1)))[0, 0, 0, 0])
      ([-2.0, 0.0], 3.0)

    Source: Zeng et al. 2022, https://arxiv.org/abs/2205.13504.
    """
    last = history[:, -1:, :]
    return history - last, lambda forecast: forecast + last[..., None]


def by_instance(history: Float[Array, "B L C"]) -> tuple[Float[Array, "B L C"], Restore]:
    """Reversible instance normalization, (x - mean x) / sqrt(var x + 1e-5), without learned scale and shift.

    Example:
      >>> x, restore = by_instance(jnp.array([1.0, 3.0])[None, :, None])
      >>> x[0, :, 0].round(3).tolist(), round(restore(jnp.ones((1, 1, 1, 1))).item(), 3)
      ([-1.0, 1.0], 3.0)

    Source: Kim et al. 2022, https://openreview.net/forum?id=cGDAkQo1C0p.
    """
    mean = jnp.mean(history, axis=1, keepdims=True)  # [B, 1, C]
    scale = jnp.sqrt(jnp.var(history, axis=1, keepdims=True) + 1e-5)
    return (history - mean) / scale, lambda forecast: forecast * scale[..., None] + mean[..., None]


def moving_average(length: int, window: int) -> np.ndarray:
    """Matrix A [L, L] such that x A is the moving average of x [..., L], with the edge values repeated as padding.

    Args:
      length: Length L.
      window: Length of the window, an odd number.

    Raises:
      ValueError: The window is not a positive odd number.

    Example:
      >>> (np.array([0.0, 3.0, 6.0]) @ moving_average(3, 3)).tolist()
      [1.0, 3.0, 5.0]
    """
    if window % 2 == 0 or window < 1:
        raise ValueError(f"the window of a moving average is {window}; expected a positive odd number")
    padded = np.pad(np.eye(length), ((0, 0), (window // 2, window // 2)), mode="edge")  # [L, L + window - 1]
    return np.lib.stride_tricks.sliding_window_view(padded, window, axis=1).mean(-1)


def by_channel(forecast: jax.Array, horizon: int, outputs: int) -> Float[Array, "B H C Q"]:
    """Reshapes a forecast per channel, [B, C, H Q], to the layout that a task reads.

    Example:
      >>> forecast = jnp.array([[[1, 2, 3], [10, 20, 30]]])  # of two channels, three hours each
      >>> by_channel(forecast, horizon=3, outputs=1)[0, :, :, 0].tolist()
      [[1, 10], [2, 20], [3, 30]]
    """
    B, C, _ = forecast.shape
    return forecast.reshape(B, C, horizon, outputs).transpose(0, 2, 1, 3)  # B C H Q -> B H C Q
