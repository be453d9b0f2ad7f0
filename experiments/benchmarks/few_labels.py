"""An encoder of `experiments.self_images`, trained on with few labels, beside the same network from scratch.

Run:     python -m experiments.benchmarks.few_labels RUN --data-dir DIR
         Both begin with learning rates of the same list, chosen by the mean accuracy of the last 5,000 training images;
         the seed draws the labels, and they are the same for both.
Result:  byol (--width 16 --epochs 16), --steps 200 --rates 1e-3 4e-3: 80.05 % (78.91, 81.33, 79.92), from scratch 76.59
         (76.50, 76.14, 77.13): 3.46 points apart (-0.28 to 7.21); both took the larger rate; 520 s of CPU (d98a4ea)
Source:  Chen et al. 2020, section 5 ("fine-tuning with 1 % of the labels"), https://arxiv.org/abs/2002.05709
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.report.sweeps.intervals import interval


def splits(data: Any, data_dir: Path | None, held: int = 5000) -> dict[str, dict[str, np.ndarray]]:
    """The training images without the last ones, those as "validation", and the test images."""
    parts = {}
    for split in ("train", "test"):
        source = data.open(split, data_dir)
        batch = data.fetch(source, np.arange(source.size))
        parts[split] = {name: np.asarray(batch[name]) for name in ("image", "label")}
    train = parts.pop("train")
    cut = {"train": slice(None, -held), "validation": slice(-held, None)}
    return {name: {field: x[rows] for field, x in train.items()} for name, rows in cut.items()} | parts


def recipe(run: Path, data_dir: Path | None, labels: int, steps: int) -> Any:
    """A function of hyper-parameters: the run's network with a head, and as many labels."""
    first = dl.load(run, data_dir=data_dir).experiment
    arrays = splits(first.data, data_dir)
    share = labels / len(arrays["train"]["label"])
    view = augment.chain(augment.flip(), augment.shift(2))
    weights = [dl.weights_of(run, "last", path=path, skip=["^head/"]) for path in ("params", "variables/batch_stats")]

    def experiment(
        start: Literal["scratch", "run"] = "scratch", learning_rate: float = 1e-3, weight_decay: float = 2e-2
    ) -> dl.Experiment:
        data = dl.data.Images(
            arrays, 100, num_steps=steps, augment=view, eval_split="validation", train_fraction=share,
            normalize=first.data.normalize,
        )  # fmt: skip
        rate = dl.optim.warmup_cosine(learning_rate, steps, warmup_fraction=0.1)
        return dl.Experiment(
            data=data,
            model=first.model.clone(num_classes=data.num_classes),
            task=dl.tasks.Classification(label_smoothing=0.1),
            optimizer=optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only),
            weights=weights if start == "run" else (),
        )

    return experiment


def accuracies(rows: Sequence[Any]) -> tuple[float, np.ndarray]:
    """The learning rate of the best validation accuracy, and with it the test accuracies of the seeds, in percent."""
    rates = sorted({row["arguments"]["learning_rate"] for row in rows})
    of = {rate: [row for row in rows if row["arguments"]["learning_rate"] == rate] for rate in rates}
    best = max(rates, key=lambda rate: np.mean([row["metrics"]["accuracy"] for row in of[rate]]))
    return best, 100 * np.array([row["metrics"]["test/accuracy"] for row in of[best]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--labels", type=int, default=600)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    made = recipe(given.run, given.data_dir, given.labels, given.steps)
    axes = {"start": ["scratch", "run"], "learning_rate": given.rates}
    rows = list(dl.sweep(made, axes, seeds=given.seeds, test_split="test"))
    found = {start: accuracies([row for row in rows if row["arguments"]["start"] == start]) for start in axes["start"]}
    print(f"{given.labels} labels, {given.steps} steps, {given.seeds} seeds: test accuracy, %")
    for start, (rate, values) in found.items():
        print(f"{start} | learning rate {rate:g} | {values.mean():.2f} | {', '.join(f'{x:.2f}' for x in values)}")
    gain = interval(list(found["run"][1] - found["scratch"][1]))
    print(f"difference | {gain.mean:.2f} ({gain.low:.2f} to {gain.high:.2f})")
