"""series: a linear forecast of a series with a daily and a weekly rhythm. Say here what the idea is.

Run:     python series.py                 (the same command again goes on, or says that it is done)
Sweep:   python series.py sweep --learning-rate 1e-3..1e-1:8 --seeds 4
Result:  none yet
"""

import flax.linen as nn
import jax
import numpy as np
import optax

import deeplab as dl


class Model(nn.Module):
    """A perceptron of each channel's history: [B, L, C] -> [B, H, C, 1]."""

    horizon: int
    width: int = 64

    @nn.compact
    def __call__(self, history: jax.Array, train: bool = False) -> jax.Array:
        x = history.swapaxes(1, 2)  # B L C -> B C L
        x = nn.Dense(self.horizon, name="linear")(x) + nn.Dense(self.horizon, name="out")(
            nn.relu(nn.Dense(self.width, name="hidden")(x))
        )
        return x.swapaxes(1, 2)[..., None]


def windows(context: int, horizon: int) -> dict[str, dict[str, np.ndarray]]:
    """Windows of 60 days of an hourly series, of which 12 are the test: history [N, L, 1], target [N, H, 1]."""
    hour = np.arange(60 * 24)
    load = np.sin(hour * 2 * np.pi / 24) + 0.5 * np.sin(hour * 2 * np.pi / 168)
    load = (load + 0.1 * np.random.default_rng(0).normal(size=len(hour))).astype(np.float32)
    cut = 48 * 24

    def part(values: np.ndarray) -> dict[str, np.ndarray]:
        each = np.lib.stride_tricks.sliding_window_view(values, context + horizon)[..., None]
        return {"history": each[:, :context], "target": each[:, context:]}

    return {"train": part(load[:cut]), "test": part(load[cut - context :])}


def experiment(
    context: int = 96,
    horizon: int = 24,
    width: int = 64,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
) -> dl.Experiment:
    """A day ahead, of a sum of two sines and noise.

    Args:
      context: Number of hours that the model reads.
      horizon: Number of hours that it forecasts.
      width: Number of hidden units.
      epochs: Number of passes over the training windows.
      batch_size: Number of windows per step.
      learning_rate: Peak learning rate of the cosine schedule.
    """
    # A series of your own: dl.data.series("load.csv", context=context, horizon=horizon) in place of Examples(windows).
    data = dl.data.Examples(windows(context, horizon), batch_size=batch_size, epochs=epochs)
    return dl.Experiment(
        data=data,
        model=Model(horizon, width),  # or dl.models.DLinear(horizon)
        task=dl.tasks.Forecasting(),
        optimizer=optax.adamw(dl.optim.warmup_cosine(learning_rate, data.num_steps)),
    )


if __name__ == "__main__":
    dl.main(experiment)
