"""Time of 16 learning rates of `image_digits` as one sweep, compared with 16 consecutive runs.

Run:     python -m experiments.benchmarks.populations
Prints:  a row for the perceptron (`--convolutions 0`) and the CNN. Both sides are whole processes, from the import
         to the report, compilations included; each side begins with an empty cache of compiled programs, which its runs
         then share. Of the solo runs `--solo` are made, and the others counted as the mean of those after the first.
         Then, in this process, the largest relative difference of the training loss between members and solo runs.
Result:  perceptron 149.5 over 12.0 s, ratio 12.5 (CPU time 11.6); CNN 198.3 over 51.3 s, ratio 3.9 (CPU time 3.4),
         on two CPU cores (e882637). Losses over 20 steps: perceptron within 3.7e-7, CNN equal
"""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import tyro

import deeplab as dl
from deeplab.search.axes import parse
from deeplab.train.feed import make_feed
from experiments.image_digits import experiment

RATES = "1e-3..1e-2:16"


def process(folder: Path, side: str, *words: str) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one command, with a given compilation cache."""
    command = [sys.executable, "-m", "experiments.image_digits", *words]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"DEEPLAB_CACHE": str(folder / side)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, spent


def compare(name: str, arguments: list[str], solo: int) -> None:
    """Prints the time of a sweep, and of as many runs."""
    rates = parse(RATES, float).values
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runs = [["--learning-rate", str(rate), "--run-dir", str(folder / str(rate))] for rate in rates[:solo]]
        alone = np.array([process(folder, "alone", "train", *arguments, *run) for run in runs])
        total = alone[0] + (len(rates) - 1) * alone[1:].mean(axis=0)
        sweep = process(
            folder, "sweep", "sweep", *arguments, "--learning-rate", RATES, "--run-dir", str(folder / "sweep")
        )
    ratios = total / sweep
    print(
        f"{name:<12} {len(rates)} runs {total[0]:6.1f} s (CPU {total[1]:6.1f}; {solo} measured)   "
        f"sweep {sweep[0]:6.1f} s (CPU {sweep[1]:6.1f})   ratio {ratios[0]:.1f} (CPU {ratios[1]:.1f})",
        flush=True,
    )


def agree(name: str, convolutions: int, steps: int) -> None:
    """Prints the largest difference between the losses of members and of solo runs over the first steps."""

    def short(learning_rate: float = 3e-3) -> dl.Experiment:
        whole = experiment(convolutions=convolutions, epochs=10, learning_rate=learning_rate)
        assert isinstance(whole.data, dl.data.Examples)
        data = dataclasses.replace(whole.data, epochs=None, num_steps=steps)
        return dataclasses.replace(whole, data=data, eval_every=1)

    worst, mesh = 0.0, dl.scale.make_mesh("data=1")
    for row in dl.sweep(short, {"learning_rate": [1e-3, 3e-3]}, seeds=2):
        exp, losses = short(**row["arguments"]), []
        log = dl.on_log(lambda progress, losses=losses: losses.append(progress.metrics["loss"].compute()))
        feed = make_feed(exp.data, exp.data.open("train"), mesh)
        dl.train.loop.fit(
            exp, dl.init(exp, jax.random.key(row["seed"])), feed, hooks=[log], log_every=1, seed=row["seed"]
        )
        members = np.array([point["train"]["loss"] for point in row["curve"]])
        worst = max(worst, float(np.max(np.abs(members / np.array(losses) - 1))))
    print(f"{name:<12} member and solo run, {steps} steps: losses within {worst:.1e}", flush=True)


def main(epochs: int = 10, solo: int = 3, steps: int = 20) -> None:
    """Measures both models.

    Args:
      epochs: Number of epochs of each run, 11 steps each.
      solo: Number of solo runs that are measured, at least two.
      steps: Number of steps over which losses are compared.
    """
    for name, convolutions in (("perceptron", 0), ("CNN", 2)):
        compare(name, ["--convolutions", str(convolutions), "--epochs", str(epochs)], solo)
        agree(name, convolutions, steps)


if __name__ == "__main__":
    tyro.cli(main)
