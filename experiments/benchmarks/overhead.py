"""Overhead of `fit` over a hand-written jitted loop, and of the import.

Run:     python -m experiments.benchmarks.overhead
Prints:  a row for each comparison, the ratio of medians in one run. The two loops take turns, so that a machine whose
         speed drifts slows both; both train the same model on the same batches from the same weights.
         fit has its logging and its checkpoints on: JSONL and TensorBoard rows, asynchronous saves.
Result:  2 CPU cores, 4 pairs: MLP 0.75 (0.075 over 0.100 ms per step), ResNet 0.92 (15.9 over 17.2), import 1.01
"""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import tyro

import deeplab as dl
from deeplab.runs import record, session, writers
from deeplab.runs.checkpoint import Checkpoints

BASE = "import jax, flax.linen, optax"


def mlp(steps: int) -> dl.Experiment:
    """A step of about 0.1 ms: several are taken in one dispatch."""
    data = dl.data.Images("digits", batch_size=128, num_steps=steps)
    model = dl.models.MLP(num_classes=10, features=(32, 32))
    return dl.Experiment(data=data, model=model, task=dl.tasks.Classification(), optimizer=optax.adamw(1e-3))


def resnet(steps: int) -> dl.Experiment:
    """A step of 20 ms or more."""
    data = dl.data.Images("digits", batch_size=128, num_steps=steps)
    model = dl.models.ResNet(stage_sizes=(1, 1), width=32, num_classes=10)
    return dl.Experiment(data=data, model=model, task=dl.tasks.Classification(), optimizer=optax.adamw(1e-3))


def bare(experiment: dl.Experiment) -> Callable[[], float]:
    """A hand-written loop: images on the device, a jitted step, the loss read every hundred steps."""
    data = experiment.data
    assert isinstance(data, dl.data.Examples)
    source = data.open("train")
    images, labels = (jnp.asarray(source.arrays[name]) for name in ("image", "label"))
    apply, tx = experiment.model.apply, experiment.optimizer
    normalize = data.normalize
    assert normalize is not None

    def step(params, variables, opt_state, ids):
        x = normalize(images[ids] / 255.0)

        def loss_fn(params):
            logits, updated = apply({"params": params, **variables}, x, train=True, mutable=list(variables))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[ids]).mean(), updated

        (loss, variables_), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), {**variables, **variables_}, opt_state, loss

    jitted = jax.jit(step, donate_argnums=(0, 1, 2))
    all_ids = data.train_ids(0, 0, experiment.num_steps)
    start = dl.init(experiment, jax.random.key(0))
    losses: list[float] = []

    def run(num_steps: int = experiment.num_steps) -> float:
        carry = jax.tree.map(jnp.copy, (start.params, start.variables, start.opt_state))
        jax.block_until_ready(carry)
        began = time.perf_counter()
        for i in range(num_steps):
            *carry, loss = jitted(*carry, all_ids[i])
            if (i + 1) % 100 == 0:
                losses.append(float(loss))
        jax.block_until_ready(carry)
        return time.perf_counter() - began

    run(2)
    return run


def fitted(experiment: dl.Experiment) -> Callable[[], float]:
    """The same training by `fit`, with the run record: the work of `train` between its first and last step."""
    mesh = dl.scale.make_mesh("auto")

    def run() -> float:
        with (
            tempfile.TemporaryDirectory() as folder,
            record.Run.open(Path(folder) / "run", {"experiment": "overhead", "arguments": {}, "seed": 0}, "") as run,
            Checkpoints(run.directory / "checkpoints", best=experiment.monitor) as checkpoints,
        ):
            ready = session.prepare(
                experiment, checkpoints, mesh, seed=0, open_source=lambda data, split: data.open(split)
            )
            run.restore(0)
            with writers.open(run) as write:
                jax.block_until_ready(ready.state)
                began = time.perf_counter()
                session.train(ready, checkpoints, write, seed=0, log_every=100)
                return time.perf_counter() - began

    run()
    return run


def compare(name: str, experiment: dl.Experiment, repeats: int) -> None:
    """Prints the ratio of medians of `fit` and the bare loop, taking turns."""
    experiment = dataclasses.replace(experiment, eval_every=experiment.num_steps)
    runs = {"bare": bare(experiment), "fit": fitted(experiment)}
    times = {kind: [] for kind in runs}
    for _ in range(repeats):
        for kind, run in runs.items():
            times[kind].append(run())
    steps = experiment.num_steps
    medians = {kind: statistics.median(values) / steps * 1e3 for kind, values in times.items()}
    ratios = [f / b for f, b in zip(times["fit"], times["bare"], strict=True)]
    print(
        f"{name:<22} bare {medians['bare']:7.3f} ms/step   fit {medians['fit']:7.3f} ms/step   "
        f"ratio {medians['fit'] / medians['bare']:.3f}  (pairs {min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )


def imports(repeats: int) -> None:
    """Prints the time of `import deeplab` and of an experiment's first names, over that of JAX, Flax and Optax."""

    def seconds(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    pairs = [(seconds(BASE), seconds(f"{BASE}; import deeplab")) for _ in range(repeats)]
    alone, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = ours / alone
    print(f"{'import deeplab':<22} base {alone:.2f} s   with deeplab {ours:.2f} s   ratio {ratio:.3f}", flush=True)


def main(repeats: int = 5, mlp_steps: int = 5000, resnet_steps: int = 300) -> None:
    """Measures all overheads.

    Args:
      repeats: Number of runs of each.
      mlp_steps: Number of steps of one run of the MLP.
      resnet_steps: Number of steps of one run of the ResNet.
    """
    imports(repeats)
    compare("MLP 64-32-32-10", mlp(mlp_steps), repeats)
    compare("ResNet, 2 blocks of 32", resnet(resnet_steps), repeats)


if __name__ == "__main__":
    tyro.cli(main)
