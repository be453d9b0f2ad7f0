"""Images that trained runs draw, measured beside the data, by the number of evaluations of their network.

Run:     python -m experiments.benchmarks.generating RUN [RUN ...] --judge RUN --data-dir DIR
         The runs, of image_diffusion, image_vae --dataset fashion_mnist or image_gan, have learned the same images.
         Without --judge, `image_fashion` of width 16 is trained for 2 epochs in a minute. Its last map's means are the
         features; FIDs by others are of another scale. The row "training images" is what a perfect model would have.
Result:  --count 2000, FID (of infinitely many, 1000 KID): training images 0.027 (0.004, -0.85); image_vae 0.818 (0.785,
         23.6); image_diffusion --method flow --epochs 4 by 50 evaluations 0.258 (0.230, 4.63), by 10 0.262 (0.233,
         4.00), by 2 1.86 (1.83, 62.9), by 1 4.61 (4.62, 194); 270 s of CPU time; commit 3a83c92. --method mean_flow
         --epochs 6 by 50 0.181 (0.162, 2.37), by 10 0.170 (0.149, 2.32), by 2 0.179 (0.159, 3.62), by 1 0.205 (0.196,
         4.15), all ten classes; 253 s of CPU time; commit 99426bb
Source:  the measures: see `deeplab.generate.measures`
"""

import argparse
import dataclasses
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import deeplab as dl
from deeplab import generate
from deeplab.generate import Generative, diffusion
from experiments import image_fashion

CHUNK = 250


def images_of(data: Any, split: str, count: int, data_dir: Path | None) -> np.ndarray:
    """Images in [0, 1], [N, H, W, C], spread evenly over a split."""
    source = data.open(split, data_dir)
    batch = data.fetch(source, np.unique(np.linspace(0, source.size - 1, min(count, source.size)).astype(int)))
    return np.asarray(data.transform(batch)["image"])


def judge_of(path: Path | None, data_dir: Path | None) -> tuple[str, dl.Run]:
    """The classifier whose features are compared, and its name."""
    run = dl.load(path, data_dir=data_dir) if path else dl.fit(
        functools.partial(image_fashion.experiment, width=16, epochs=2), data_dir=data_dir
    )  # fmt: skip
    name = str(path) if path else "image_fashion --width 16 --epochs 2"
    return f"{name}, {run.metrics['test']['accuracy']:.2%} accuracy, step {run.step:,}", run


def samplers(run: dl.Run, wanted: list[int]) -> Iterator[tuple[int, Generative]]:
    """Numbers of evaluations, at most those that are wanted, and the model that takes as many."""
    task: Any = run.experiment.task
    apply = run.bound(CHUNK)
    if not hasattr(task, "steps"):
        yield 1, task.generative(apply)
        return
    twice = getattr(task, "sampler", None) is diffusion.second_order  # each step but the last
    for number in sorted({(n + 1) // 2 if twice else n for n in wanted}, reverse=True):
        yield 2 * number - 1 if twice else number, dataclasses.replace(task, steps=number).generative(apply)


def drawn(model: Generative, num_classes: int | None, count: int, seed: int) -> tuple[np.ndarray, float]:
    """Images [count, H, W, C], of each class as many if the model is told classes, and seconds for all of them."""
    asked = None if num_classes is None else jnp.arange(CHUNK) % num_classes
    keys = jax.random.split(jax.random.key(seed), -(-count // CHUNK))
    sample = jax.jit(lambda key: model.sample(key, CHUNK, asked)).lower(keys[0]).compile()
    start = time.perf_counter()
    parts = [np.asarray(sample(key)) for key in keys]
    return np.concatenate(parts)[:count], time.perf_counter() - start


def line(judge: dl.Run, tap: str, real: np.ndarray, images: np.ndarray) -> str:
    """Measures of images, and the number of classes of which the judge sees at least 1 % among them."""
    features = generate.classifier_features(judge, tap, images)
    right, found = generate.precision_recall(real, features)
    seen = np.bincount(judge.predict(images)["prediction"], minlength=10) / len(images)
    distances = f"{generate.fid(real, features):.3f} | {generate.fid_infinity(real, features):.3f}"
    kernel = f"{1000 * generate.kid(real, features):.2f}"
    return f"{distances} | {kernel} | {right:.3f} | {found:.3f} | {int(np.sum(seen >= 0.01))}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--judge", type=Path, help="run of a classifier of the same images")
    parser.add_argument("--tap", default="stage3_block1", help="layer of the judge")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[50, 10, 2, 1])
    parser.add_argument("--count", type=int, default=10_000, help="number of images that each setting draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    told, judge = judge_of(given.judge, given.data_dir)
    runs = {path: dl.load(path, data_dir=given.data_dir) for path in given.runs}
    data = next(iter(runs.values())).experiment.data
    real = generate.classifier_features(judge, given.tap, images_of(data, "test", given.count, given.data_dir))
    print(f"features: {given.tap} of {told}; {len(real):,} test images, {given.count:,} drawn for each row")
    print("run | evaluations | FID | of infinitely many | 1000 KID | precision | recall | classes | seconds")
    learned = images_of(data, "train", given.count, given.data_dir)
    print("training images | - |", line(judge, given.tap, real, learned), "| -", flush=True)
    for path, run in runs.items():
        told_classes = getattr(run.experiment.task, "num_classes", None)
        for number, model in samplers(run, given.evaluations):
            images, seconds = drawn(model, told_classes, given.count, given.seed)
            print(f"{path} | {number} |", line(judge, given.tap, real, images), f"| {seconds:.0f}", flush=True)
