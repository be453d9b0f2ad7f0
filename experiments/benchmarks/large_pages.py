"""Time of a training step on a CPU with large pages (GLIBC_TUNABLES=glibc.malloc.hugetlb=1) and without.

Run:     python -m experiments.benchmarks.large_pages [--names image_cifar10 ...]
Prints:  a row for each experiment, on synthetic data of its shape: wall-clock milliseconds and page faults per step,
         without and with. The two take turns, each in a new process, where glibc reads the variable; medians.
Result:  two idle cores, --rounds 1, commit 84484c4: text_shakespeare 48 to 36, text_translation 467
         to 350, health_membrane 585 to 438, driving_segmentation 641 to 432 ms per step
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import jax
import tyro

import deeplab as dl
from deeplab.core.backend import CPU_CONVOLUTION_OPTIONS, compile_lowered

NAMES = (
    "text_shakespeare",
    "text_translation",
    "image_fashion",
    "image_cifar10",
    "health_membrane",
    "driving_segmentation",
)
TUNABLE = "glibc.malloc.hugetlb=1"


def measure(name: str, steps: int) -> tuple[float, float]:
    """Milliseconds and page faults per step, measured in this process."""
    experiment = importlib.import_module(f"experiments.{name}").experiment()
    data = experiment.data.synthetic(experiment.data.batch_size)
    batch = jax.device_put(data.fetch(data.open("train"), data.train_ids(0, 0)[0]))
    state = jax.jit(functools.partial(dl.init, experiment))(jax.random.key(0))
    lowered = jax.jit(dl.make_step(experiment), donate_argnums=0).lower(state, batch)
    options = CPU_CONVOLUTION_OPTIONS if "stablehlo.convolution" in lowered.as_text() else {}
    step = compile_lowered(lowered, options)
    state, _ = jax.block_until_ready(step(state, batch))
    times, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / steps


def elsewhere(name: str, steps: int, tunables: str) -> tuple[float, float]:
    """Milliseconds and page faults per step, measured in a new process."""
    command = [sys.executable, "-m", "experiments.benchmarks.large_pages", "--alone", name, "--steps", str(steps)]
    environment = os.environ | {"GLIBC_TUNABLES": tunables}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, encoding="utf-8")
    return tuple(json.loads(result.stdout.splitlines()[-1]))


def main(names: tuple[str, ...] = NAMES, steps: int = 10, rounds: int = 2, alone: str | None = None) -> None:
    """Measures each experiment with large pages and without.

    Args:
      names: Names of the experiments.
      steps: Number of steps of each process.
      rounds: Number of processes with large pages, and without.
      alone: Name of the experiment to measure in this process, with its environment.
    """
    if alone:
        print(json.dumps(measure(alone, steps)), flush=True)
        return
    for name in names:
        pairs = [(elsewhere(name, steps, ""), elsewhere(name, steps, TUNABLE)) for _ in range(rounds)]
        without, with_them = zip(*pairs, strict=True)
        plain, faults = map(statistics.median, zip(*without, strict=True))
        large, fewer = map(statistics.median, zip(*with_them, strict=True))
        print(
            f"{name:<22} {plain:7,.0f} -> {large:7,.0f} ms per step ({large / plain:.2f})   "
            f"{faults:9,.0f} -> {fewer:7,.0f} faults",
            flush=True,
        )


if __name__ == "__main__":
    tyro.cli(main)
