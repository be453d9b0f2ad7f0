"""Repeating the past on ETTh1: the baselines of `experiments.series_ett`, on the same windows.

Run:     python -m experiments.benchmarks.naive_ett       (--data-dir DIR for the original file)
Result:  test MSE / MAE, no randomness: last value 1.222 / 0.671 at 24 hours, 1.294 / 0.713 at 96;
         last day 0.424 / 0.389 and 0.512 / 0.433
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import tyro

from deeplab.data.sets.series.windows import ETT_H1

DAY = 24


def errors(horizon: int, period: int, data_dir: Path | None) -> tuple[float, float]:
    """MSE and MAE over all test windows of repeating the last `period` hours."""
    dataset = dataclasses.replace(ETT_H1, context=DAY, horizon=horizon)
    source = dataset.open("test", data_dir)
    window = dataset.fetch(source, np.arange(source.size))
    repeated = window["history"][:, DAY - period + np.arange(horizon) % period]  # [N, H, C]
    error = (repeated - window["target"]).astype(np.float64)
    return float(np.mean(error**2)), float(np.mean(np.abs(error)))


def main(data_dir: Path | None = None) -> None:
    """Prints a row for each horizon and baseline.

    Args:
      data_dir: Folder with ETTh1.csv; it is downloaded when None.
    """
    for horizon in (24, 96):
        for name, period in (("last value", 1), ("last day", DAY)):
            mse, mae = errors(horizon, period, data_dir)
            print(f"{horizon} hours, {name}: MSE {mse:.3f}, MAE {mae:.3f}")


if __name__ == "__main__":
    tyro.cli(main)
