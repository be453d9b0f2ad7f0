"""What forecasters of time series share: ways to normalize a window that are undone in its forecast."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Restore = Callable[[Float[Array, "B H C Q"]], Float[Array, "B H C Q"]]
"""Undoes a normalization, in a forecast of H times and Q outputs each."""

Normalize = Callable[[Float[Array, "B L C"]], tuple[Float[Array, "B L C"], Restore]]
"""`history -> (normalized history, restore)`, each channel of each example by itself."""


def as_is(history: Float[Array, "B L C"]) -> tuple[Float[Array, "B L C"], Restore]:
    """No normalization."""
    return history, lambda forecast: forecast


def from_last(history: Float[Array, "B L C"]) -> tuple[Float[Array, "B L C"], Restore]:
    """x - x_L: the forecast is a change from the last value (Zeng et al. 2022, https://arxiv.org/abs/2205.13504).

    Example:
      >>> x, restore = from_last(jnp.array([1.0, 3.0])[None, :, None])
      >>> x[0, :, 0].tolist(), float(restore(jnp.zeros((1, 1, 1, 1)))[0, 0, 0, 0])
      ([-2.0, 0.0], 3.0)
    """
    last = history[:, -1:, :]
    return history - last, lambda forecast: forecast + last[..., None]


def by_instance(history: Float[Array, "B L C"]) -> tuple[Float[Array, "B L C"], Restore]:
    """(x - mean x) / sqrt(var x + 1e-5) (Kim et al. 2022, https://openreview.net/forum?id=cGDAkQo1C0p).

    Reversible instance normalization, without its learned scale and shift.

    Example:
      >>> x, restore = by_instance(jnp.array([1.0, 3.0])[None, :, None])
      >>> x[0, :, 0].round(3).tolist(), round(restore(jnp.ones((1, 1, 1, 1))).item(), 3)
      ([-1.0, 1.0], 3.0)
    """
    mean = jnp.mean(history, axis=1, keepdims=True)  # [B, 1, C]
    scale = jnp.sqrt(jnp.var(history, axis=1, keepdims=True) + 1e-5)
    return (history - mean) / scale, lambda forecast: forecast * scale[..., None] + mean[..., None]


def moving_average(length: int, window: int) -> np.ndarray:
    """The matrix [L, L] by which x, [..., L], becomes its moving average, with the ends repeated beyond the borders.

    Args:
      length: L.
      window: values that are averaged, odd.

    Example:
      >>> (np.array([0.0, 3.0, 6.0]) @ moving_average(3, 3)).tolist()
      [1.0, 3.0, 5.0]
    """
    if window % 2 == 0 or window < 1:
        raise ValueError(f"a moving average of {window} values has no middle; expected an odd number")
    padded = np.pad(np.eye(length), ((0, 0), (window // 2, window // 2)), mode="edge")  # [L, L + window - 1]
    return np.lib.stride_tricks.sliding_window_view(padded, window, axis=1).mean(-1)


def by_channel(forecast: jax.Array, horizon: int, outputs: int) -> Float[Array, "B H C Q"]:
    """A forecast that was made channel by channel, [B, C, H Q], in the order that a task reads."""
    B, C, _ = forecast.shape
    return forecast.reshape(B, C, horizon, outputs).transpose(0, 2, 1, 3)  # B C H Q -> B H C Q
