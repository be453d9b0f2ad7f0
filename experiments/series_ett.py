"""Forecasts of an electricity transformer's load and oil temperature, 24 or 96 hours ahead (ETTh1), by four models.

Run:     python -m experiments.series_ett; then: python -m experiments.series_ett eval --checkpoint best --split test
Result:  linear, seeds 0 to 2, test MSE: 96 hours 0.368, 0.367, 0.367 (DLinear 0.375), 24: 0.311, 0.311, 0.311 (044175c)
         lstm, 8 epochs 0.379; transformer, --context 336, 5 epochs 0.399; tcn, --context 168, rate 3e-3 0.467 (c7f5149)
Source:  data: Zhou et al. 2021, https://arxiv.org/abs/2012.07436; linear: Zeng et al. 2022, Li et al. 2023, arXiv
         2205.13504, 2305.10721; tcn: Bai et al. 2018, 1803.01271; transformer: Nie et al. 2023, 2211.14730
"""

import dataclasses
import functools
from typing import Literal

import optax

import deeplab as dl
from deeplab.data.sets.series.windows import ETT_H1
from deeplab.nn.series import as_is
from deeplab.report import cards

QUANTILES = (0.1, 0.5, 0.9)
SHOWN = ("OT", "HUFL")  # oil temperature, and the load with the largest variance


def experiment(
    model: Literal["linear", "lstm", "tcn", "transformer"] = "linear",
    horizon: int = 96,
    context: int = 512,
    epochs: int = 10,
    batch_size: int = 64,
    quantiles: bool = False,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    dropout: float = 0.2,
    average_decay: float = 0.99,
) -> dl.Experiment:
    """Twelve months for training, then four for validation and four for the test; a window starts at each hour.

    Args:
      model: Network: decomposition and linear maps, an LSTM over days, dilated convolutions, or attention over patches.
      horizon: Number of hours to forecast.
      context: Number of past hours that the model reads.
      epochs: Number of passes over the training windows.
      batch_size: Number of windows per step.
      quantiles: Whether to forecast the 10 %, 50 % and 90 % quantiles with the pinball loss instead of the mean.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the matrices, multiplied by the learning rate.
      dropout: Dropout probability of all models but the linear one.
      average_decay: Decay of the moving average of the parameters.
    """
    dataset = dataclasses.replace(ETT_H1, context=context, horizon=horizon)
    data = dl.data.Examples(dataset, batch_size, epochs, eval_split="validation")
    task = dl.tasks.Forecasting(QUANTILES if quantiles else ())
    size = horizon, task.outputs
    network = {
        "linear": dl.models.DLinear(*size, normalize=as_is),
        "lstm": dl.models.LSTMForecaster(*size, width=64, dropout=dropout),
        "tcn": dl.models.TCN(*size, dropout=dropout),
        "transformer": dl.models.PatchTST(*size, patch=24, stride=24, dropout=dropout),
    }[model]
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=network,
        task=task,
        optimizer=dl.optim.with_ema(adam, average_decay),
        show=functools.partial(cards.forecasts, dataset.columns, dataset.unscaled, shown=SHOWN, past=168),
    )


if __name__ == "__main__":
    dl.main(experiment)
