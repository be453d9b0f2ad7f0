"""Calibration of finished runs on held-out examples: as trained, and after a temperature of other examples.

Run:     python -m experiments.image_fashion --width 16 --epochs 4 --run-dir runs/fashion --data-dir DIR   (and so on)
         python -m experiments.benchmarks.calibrating runs/fashion ...
Prints:  of each run the accuracy, the temperature, and the expected calibration error (15 bins of equal width) with
         and without its bias, and its 95 % interval, before and after. A half of the test examples, or of the test
         patients, drawn by lot, gives the temperature; all else is of the other half. The errors of patients are
         resampled by patient.
Result:  halves of 5,000, ECE as trained and after T: image_fashion (--width 16 --epochs 4) 8.46, 1.24 %; image_mnist
         (--width 16 --epochs 2) 10.90, 0.28 %; recsys_ctr 1.76, 2.06 %; health_ecg, 25,805
         beats of patients apart, 0.72, 2.27 % (d298e25). With intervals: deeplab/robust/README.md.
         171, 116 and 35 s of CPU time for the trainings, two CPU cores (commit 34a31c2)
Source:  Guo et al. 2017, https://arxiv.org/abs/1706.04599; the bias: Kumar et al. 2019, https://arxiv.org/abs/1909.10155
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tyro

import deeplab as dl
from deeplab.robust import calibration
from deeplab.robust.resampling import dealt
from deeplab.tasks.clinical import Clinical
from deeplab.verbs.robustness.examined import examined
from deeplab.verbs.run import Run


def predictions(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Logits [N, K], labels [N] and patients [N] of all test examples; None where examples are of no patient."""
    task = run.experiment.task
    what = examined(run, None, run.experiment.data.num_examples(run.experiment.data.eval_split))

    def outputs(apply: Any, batch: Any) -> Any:
        found = task.predict(apply, batch, what.key)
        z = found["log_probs"] if isinstance(task, Clinical) else apply(*task.inputs(batch))[0]
        return z, batch["label"], {name: batch[name] for name in ("record",) if name in batch}

    logits, label, rest = what.over(outputs)
    if logits.shape[1] == 1:  # the log-odds of a yes
        logits, label = np.concatenate([np.zeros_like(logits), logits], axis=1), label[:, 0]
    return logits.astype(np.float64), label.astype(np.int64), rest.get("record")


def row(name: str, logits: np.ndarray, label: np.ndarray, group: np.ndarray | None) -> str:
    """The figures of one run."""
    fit = dealt(len(label), group, 2) == 0
    temperature = calibration.temperature(logits[fit], label[fit])
    logits, label, group = logits[~fit], label[~fit], None if group is None else group[~fit]
    told = [f"{name:20} {fit.sum():6} {len(label):6} {np.mean(logits.argmax(axis=1) == label):7.2%} {temperature:6.3f}"]
    for z in (logits, logits / temperature):
        p = calibration.softmax(z)
        confidence, right = p.max(axis=1), p.argmax(axis=1) == label
        ece = calibration.expected_calibration_error(confidence, right)
        found = calibration.calibration_interval(confidence, right, group)
        told.append(f"{ece:7.2%} {found.value:7.2%} ({found.low:.2%} to {found.high:.2%})")
    return "   ".join(told)


def main(runs: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Prints a row for each run.

    Args:
      runs: Directories of finished runs of classifications.
    """
    print("experiment           calibr.  test accuracy     T     ECE debiased (95 %), as trained     and after T")
    for folder in runs:
        run = dl.load(folder)
        print(row(run.recipe.name, *predictions(run)), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
