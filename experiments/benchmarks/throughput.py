"""Throughput of the input, of the training step, and of both together: examples per second.

Run:     python -m experiments.benchmarks.throughput speech_digits --data-dir DIR
Prints:  the input alone (cut from the resident arrays and transformed), the step alone (on a prepared batch), and
         both together as they train, each by wall clock and by CPU time; medians. The three take turns, so that a
         machine whose speed drifts slows them all.
Result:  none yet
"""

from __future__ import annotations

import dataclasses
import importlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import tyro

import deeplab as dl


def programs(experiment: dl.Experiment, data_dir: Path | None, steps: int) -> dict[str, Callable[[], Any]]:
    """Compiled functions that run a number of steps of "input", "step" and "together", and wait for the device."""
    data = experiment.data
    assert isinstance(data, dl.data.Examples)
    source = data.open("train", data_dir)
    arrays, ids = jax.device_put(dict(source.arrays)), jax.device_put(data.train_ids(0, 0, steps))
    state, key = dl.init(experiment, jax.random.key(0)), jax.random.key(1)

    def raw(arrays: Any, item: jax.Array) -> Any:
        return data.fetch(dataclasses.replace(source, arrays=arrays), item)

    def read(arrays: Any, item: jax.Array) -> Any:
        return data.transform(raw(arrays, item), key)

    plain = dataclasses.replace(data, prepare=None, mix=None, epochs=None)
    ready = jax.jit(read)(arrays, ids[0])
    alone = dl.make_step(dataclasses.replace(experiment, data=plain))
    both = dl.make_step(experiment)
    make_input, take_alone = jax.jit(read), jax.jit(alone)
    take_both = jax.jit(lambda state, arrays, item: both(state, raw(arrays, item)))

    def over(take: Callable[[Any, jax.Array], Any], first: Any) -> Callable[[], Any]:
        def run() -> None:
            carry = first
            for item in ids:
                carry = take(carry, item)
            jax.block_until_ready(carry)

        return run

    return {
        "input": over(lambda _, item: make_input(arrays, item), None),
        "step": over(lambda state, _: take_alone(state, ready)[0], state),
        "together": over(lambda state, item: take_both(state, arrays, item)[0], state),
    }


def main(name: tyro.conf.Positional[str] = "speech_digits", data_dir: Path | None = None, rounds: int = 5) -> None:
    """Measures an experiment.

    Args:
      name: Name of an experiment on `dl.data.Examples`.
      data_dir: Folder with the original files; they are downloaded when None.
      rounds: Number of runs of each.
    """
    experiment = importlib.import_module(f"experiments.{name}").experiment()
    steps = 20
    runs = programs(experiment, data_dir, steps)
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in runs}
    for run in runs.values():
        run()  # compiles
    for _ in range(rounds):
        for kind, run in runs.items():
            began = time.perf_counter(), time.process_time()
            run()
            times[kind].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    examples = steps * experiment.data.batch_size
    for kind, pairs in times.items():
        wall, cpu = (examples / statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{kind:<10} {wall:9,.0f} examples/s   {cpu:9,.0f} examples per second of CPU time", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
