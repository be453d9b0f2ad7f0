"""What the encoders of `experiments.self_images` and `self_speech` have learned: neighbors and linear probes.

Run:     python -m experiments.benchmarks.features RUN [RUN ...] --layer stage3_block1 --data-dir DIR
         The first run gives the data and the random network: its own before the first step, whose batch norms have
         seen 50 batches. Beside it: what the network reads, and the first 50 principal components of that. Features
         are what the encoder returns, such as means over places; with --layer that layer's, place by place; with
         --side 4 a large map's means over the places of each part of 4 x 4.
Result:  Fashion-MNIST, %, by 3 and 20 neighbors and linear, of what the encoder returns and of stage3_block1: pixels
         85.56, 84.24, 81.24; 50 components 85.44, 85.49, 77.86; random network 68.40, 69.32, 63.42 and 82.14, 82.00,
         81.82; simclr (--width 16 --epochs 16) 85.48, 85.00, 80.89 and 88.27, 87.54, 88.36 (commit eff3ab1); vicreg
         83.48, 84.28, 80.29 and 87.43, 86.60, 87.43; byol 83.77, 84.12, 79.72 and 87.14, 86.75, 87.08 (d298e25);
         intervals +- 0.63 to 0.94, controls 9.8 to 10.2 (seed 0, some 10 minutes of CPU time a run beside other work)
         CIFAR-10's JPEG copy, linear, features and --side 4: 68.41, 75.02, a random network 42.25, 53.84, +- 0.85 to
         0.98, of simclr --dataset cifar10 --width 64 --epochs 44 --batch-size 512 --precision bf16 (84a9db3), 43 s
         of training on an H200 that others shared; the random network's norms have seen 8 batches of 128
Source:  neighbors by cosine, 20 of them: Wu et al. 2018, https://arxiv.org/abs/1805.01978
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import deeplab as dl
from deeplab import representation

BySplit = dict[str, Any]
"""Arrays of the splits "train" and "test"."""


def opened(run: dl.Run, data_dir: Path | None) -> tuple[BySplit, BySplit, BySplit]:
    """Raw fields, what the network reads [N, ...], and the labels, by split."""
    data, field = run.experiment.data, run.experiment.task.fields[0]
    raw, read = {}, {}
    for split in ("train", data.eval_split):
        source = data.open(split, data_dir)
        batch = data.fetch(source, np.arange(source.size))
        raw[split] = {name: np.asarray(x) for name, x in batch.items() if name not in ("id", "weight")}
        parts = [{k: x[i : i + 1000] for k, x in batch.items()} for i in range(0, source.size, 1000)]
        read[split] = np.concatenate([np.asarray(data.transform(part)[field]) for part in parts])
    return raw, read, {split: x["label"] for split, x in raw.items()}


def components(flat: BySplit, num: int) -> BySplit:
    """The first principal components of the training examples."""
    mean = flat["train"].mean(axis=0)
    axes = np.linalg.eigh((flat["train"] - mean).T @ (flat["train"] - mean))[1][:, -num:]
    return {split: (x - mean) @ axes for split, x in flat.items()}


def random_network(run: dl.Run, data_dir: Path | None, seed: int = 1000) -> dl.Run:
    """The run's network before its first step, with the statistics of 50 batches in its batch norms."""
    frozen = dataclasses.replace(run.experiment, optimizer=optax.set_to_zero())
    step, data = jax.jit(dl.make_step(frozen), donate_argnums=0), frozen.data
    state, source = dl.init(frozen, jax.random.key(seed)), data.open("train", data_dir)
    for number in range(50):
        state, _ = step(state, data.fetch(source, data.train_ids(seed, number)[0]))
    return dataclasses.replace(run, experiment=frozen, state=state)


def places(run: dl.Run, read: BySplit, layer: str, side: int | None = None, size: int = 500) -> BySplit:
    """Features of a layer of the network, place by place, [N, D]; of `side` x `side` means of a map, where given."""

    @jax.jit
    def tap(x: jax.Array) -> jax.Array:
        found = run.bound(len(x)).taps(x, names=[layer])[1][layer]
        if side is not None:
            B, H, W, C = found.shape
            found = found.reshape(B, side, H // side, side, W // side, C).mean((2, 4))
        return found.reshape(len(x), -1)

    return {split: np.concatenate([tap(x[i : i + size]) for i in range(0, len(x), size)]) for split, x in read.items()}


def centered(features: BySplit) -> BySplit:
    """Features less the mean of the training examples, so that cosines are of what differs."""
    return {split: x - features["train"].mean(axis=0) for split, x in features.items()}


def interval(accuracy: float, count: int) -> float:
    """Half of the 95 % interval of an accuracy, by the normal approximation."""
    return 1.96 * float(np.sqrt(accuracy * (1 - accuracy) / count))


def judged(features: BySplit, label: BySplit, metric: representation.Metric) -> str:
    """A line of the table."""
    x, y = (list(by_split.values()) for by_split in (features, label))
    near = [representation.knn_predict(x[0], y[0], x[1], k=k, metric=metric) for k in (3, 20)]
    probe = representation.linear_probe((x[0], y[0]), (x[1], y[1]))
    right = [*(float(np.mean(guess == y[1])) for guess in near), probe.accuracy]
    shown = [f"{100 * a:.2f} +- {100 * interval(a, len(y[1])):.2f}" for a in right]
    return " | ".join([*shown, f"{100 * probe.control:.1f}", f"{representation.two_nn(x[1]):.1f}"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--layer")
    parser.add_argument("--side", type=int)
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    runs = [dl.load(path, data_dir=given.data_dir) for path in given.runs]
    raw, read, label = opened(runs[0], given.data_dir)
    flat = {split: x.reshape(len(x), -1) for split, x in read.items()}
    print("features | 3 neighbors, % | 20 neighbors, % | linear, % | control, % | dimension")
    print("inputs |", judged(flat, label, "l2"), flush=True)
    print("50 components |", judged(components(flat, 50), label, "l2"), flush=True)
    for name, run in [("random", random_network(runs[0], given.data_dir)), *zip(given.runs, runs, strict=True)]:
        found = {getattr(name, "name", name): {split: run.predict(x)["features"] for split, x in raw.items()}}
        if given.layer:
            found[given.layer] = places(run, read, given.layer, given.side)
        for shown, features in found.items():
            print(shown, "|", judged(centered(features), label, "cosine"), flush=True)
