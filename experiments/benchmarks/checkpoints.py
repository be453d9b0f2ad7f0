"""What it costs to read a checkpoint back before it counts: seconds behind the step, and the step beside it.

Run:     python -m experiments.benchmarks.checkpoints
Method:  Saves of one state, with and without the read-back in turn; the median of the seconds in the background. Beside
         them one thread of the device trains: milliseconds per step while a save is under way, and while none is.
         Last a whole run of `image_digits` with an evaluation and a save in each epoch, in CPU seconds of the process.
Result:  README.md in this folder.
"""

import contextlib
import functools
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp

import deeplab as dl
from deeplab.runs import storage
from deeplab.runs.checkpoint import Checkpoints
from experiments.image_digits import experiment

REPEATS = 7


def without_reading_back():
    """A context in which a save counts as soon as it is written."""
    skip = contextlib.ExitStack()
    skip.enter_context(mock.patch.object(storage, "_verified", return_value=None))
    skip.enter_context(mock.patch.object(storage, "_check_stored", return_value=None))
    return skip


@jax.jit
def step(x):
    return x @ x / jnp.linalg.norm(x)


def save_seconds(checkpoints, number, state, x):
    """Seconds of one save, and the median milliseconds of the steps beside it."""
    steps, began = [], time.monotonic()
    checkpoints.save(number, state, force=True)
    while not checkpoints._saving.done():
        at = time.monotonic()
        x = step(x).block_until_ready()
        steps.append(1e3 * (time.monotonic() - at))
    return time.monotonic() - began, statistics.median(steps)


def main():
    state = {f"w{i}": jax.random.normal(jax.random.key(i), (1000, 1000)) for i in range(25)}
    x, alone = jax.random.normal(jax.random.key(0), (700, 700)), []
    for _ in range(50):
        at = time.monotonic()
        step(x).block_until_ready()
        alone.append(1e3 * (time.monotonic() - at))
    found = {name: [] for name in ("read back", "written only")}
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder, keep=1) as checkpoints:
        checkpoints.save(0, state)
        checkpoints.wait()
        for i in range(REPEATS):
            found["read back"].append(save_seconds(checkpoints, 2 * i + 1, state, x))
            with without_reading_back():
                found["written only"].append(save_seconds(checkpoints, 2 * i + 2, state, x))
    print(f"a step alone: {statistics.median(alone):.1f} ms")
    for name, pairs in found.items():
        seconds, milliseconds = map(statistics.median, zip(*pairs, strict=True))
        print(f"100 MB, {name}: {seconds:.2f} s a save, {milliseconds:.1f} ms a step beside it")
    runs = {name: [] for name in found}
    for _ in range(3):
        for name in found:
            context = without_reading_back() if name == "written only" else contextlib.nullcontext()
            with tempfile.TemporaryDirectory() as folder, context:
                wall, cpu = time.monotonic(), time.process_time()
                dl.fit(functools.partial(experiment, epochs=10), run_dir=Path(folder) / "run")
                runs[name].append((time.monotonic() - wall, time.process_time() - cpu))
    for name, pairs in runs.items():
        wall, cpu = map(statistics.median, zip(*pairs, strict=True))
        print(f"image_digits, 10 epochs, {name}: {wall:.1f} s, {cpu:.1f} s of CPU time")


if __name__ == "__main__":
    main()
