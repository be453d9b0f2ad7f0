"""What the encoders of `experiments.self_images` have learned: nearest neighbors and linear probes of their features.

Run:     python -m experiments.benchmarks.self_images RUN [RUN ...] --data-dir DIR
         The first run gives the data and the random network: its own before the first step, whose batch norms have
         seen 50 batches. Beside it: the pixels, and their first 50 principal components.
Result:  none yet
Source:  neighbors by cosine, 20 of them: Wu et al. 2018, https://arxiv.org/abs/1805.01978
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np
import optax

import deeplab as dl
from deeplab import representation

Features = dict[str, np.ndarray]
"""Features [N, D] of the splits "train" and "test"."""


def pixels(data: dl.data.Data, data_dir: Path | None) -> tuple[Features, Features, Features]:
    """Raw images, their pixels from 0 to 1, and the labels, by split."""
    raw = {split: data.open(split, data_dir) for split in ("train", "test")}
    batches = {split: data.fetch(source, np.arange(source.size)) for split, source in raw.items()}
    images = {split: np.asarray(batch["image"]) for split, batch in batches.items()}
    flat = {split: x.reshape(len(x), -1).astype(np.float32) / 255 for split, x in images.items()}
    return images, flat, {split: np.asarray(batch["label"]) for split, batch in batches.items()}


def components(flat: Features, num: int) -> Features:
    """The first principal components of the training images."""
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


def interval(accuracy: float, count: int) -> float:
    """Half of the 95 % interval of an accuracy, by the normal approximation."""
    return 1.96 * float(np.sqrt(accuracy * (1 - accuracy) / count))


def judged(features: Features, label: Features, metric: representation.Metric) -> str:
    """A line of the table."""
    x, y = ((features[split], label[split]) for split in ("train", "test"))
    right = [float(np.mean(representation.knn_predict(*x, y[0], k=k, metric=metric) == y[1])) for k in (3, 20)]
    probe = representation.linear_probe(x, y)
    shown = [f"{100 * a:.2f} +- {100 * interval(a, len(y[1])):.2f}" for a in (*right, probe.accuracy)]
    return " | ".join([*shown, f"{100 * probe.control:.1f}", f"{representation.two_nn(y[0]):.1f}"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    runs = [dl.load(path, data_dir=given.data_dir) for path in given.runs]
    images, flat, label = pixels(runs[0].experiment.data, given.data_dir)
    print("features | 3 neighbors, % | 20 neighbors, % | linear, % | control, % | dimension")
    print("pixels |", judged(flat, label, "l2"))
    print("50 components |", judged(components(flat, 50), label, "l2"))
    for name, run in [("random", random_network(runs[0], given.data_dir)), *zip(given.runs, runs, strict=True)]:
        features = {split: run.predict(x)["features"] for split, x in images.items()}
        print(getattr(name, "name", name), "|", judged(features, label, "cosine"), flush=True)
