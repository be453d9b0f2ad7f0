"""Operating points of `experiments.health_ecg`: sensitivity against predictive value on held-out records of DS1.

Run:     python -m experiments.benchmarks.ecg_operating_points --data-dir DIR
Result:  seeds 0 and 1, 2 CPU cores; offsets (S, V): S sensitivity / +P, V sensitivity / +P, macro F1, in percent
         (0, 0): 81.4 / 48.2, 80.2 / 89.1, 60.3   (0, 0.25), the experiment's: 80.8 / 52.8, 85.1 / 85.5, 61.3
         (-0.5, 0.25): 77.7 / 75.6, 88.3 / 85.2, 64.9
Source:  the folds are those of `deeplab.data.sets.health.mitbih`; DS2 is not read
"""

import argparse
import functools
from pathlib import Path

import jax
import numpy as np

import deeplab as dl
from deeplab import scale
from deeplab.data.sets.health.mitbih import FOLDS, FREQUENCIES
from deeplab.metrics.confusion import PredictiveValue, Sensitivity, macro_f1
from experiments.health_ecg import experiment

OFFSETS = (-0.5, -0.25, 0.0, 0.25, 0.5)


def held_out(seed: int, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N, 4] and labels of all of DS1, each record predicted by the run that held it out."""
    parts = []
    for fold in range(1, len(FOLDS) + 1):
        exp = experiment(fold=fold)  # pyright: ignore[reportArgumentType]  # an int of the Literal
        data, mesh = exp.data, scale.make_mesh("auto")
        train, validation = (dl.make_feed(data, data.open(s, data_dir), mesh) for s in ("train", "validation"))
        state = jax.jit(functools.partial(dl.init, exp))(jax.random.key(seed))
        trained = dl.train.loop.fit(exp, state, train, seed=seed).state
        assert trained is not None
        out = dl.train.evaluate.predict(exp, trained, validation, "validation")
        parts.append((out["log_probs"] - np.log(np.array(FREQUENCIES) / sum(FREQUENCIES)), out["label"]))
    logits, label = zip(*parts, strict=True)
    return np.concatenate(logits), np.concatenate(label)


def row(logits: np.ndarray, label: np.ndarray, offsets: tuple[float, ...]) -> list[float]:
    """Sensitivity and predictive value of S and of V, and the macro F1, of decisions with these offsets."""
    taken = (logits + np.array(offsets)).argmax(axis=1)
    counts = np.bincount(label * 4 + taken, minlength=16).reshape(4, 4).astype(np.float64)
    return [f(counts) for f in (Sensitivity(1), PredictiveValue(1), Sensitivity(2), PredictiveValue(2), macro_f1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    runs = [held_out(seed, given.data_dir) for seed in range(given.seeds)]
    print("offset of S, of V: S sensitivity, S +P, V sensitivity, V +P, macro F1; means of the seeds")
    for s in OFFSETS:
        for v in OFFSETS:
            mean = np.mean([row(*run, (0.0, s, v, 0.0)) for run in runs], axis=0)
            print(f"{s:+.2f} {v:+.2f}: " + " ".join(f"{100 * x:.1f}" for x in mean))
