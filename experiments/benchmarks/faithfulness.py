"""Faithfulness of the explanations of a run: each method beside the two controls, on the same examples.

Run:     python -m experiments.benchmarks.faithfulness RUN_DIR --methods deeplift shapley
Prints:  the table of `deeplab.explain.faithfulness`, and by how much the best method is above the random map and the
         edges: the mean and the 95 % interval of the paired differences. Examples are spread over the split, or evenly
         over its classes: where most are of one class, the mean example is of that class too, and nothing explains why
         an example is not what it is.
Result:  see deeplab/explain/trust/README.md
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import tyro

import deeplab as dl
from deeplab.verbs.explaining.explain import explain_run
from deeplab.verbs.explaining.explained import METHODS
from deeplab.verbs.explaining.subject import ClassScore


def main(
    run_dir: tyro.conf.Positional[Path],
    methods: tuple[str, ...] = METHODS,
    metrics: tuple[str, ...] = (),
    count: int = 200,
    split: str | None = None,
    score: ClassScore = "logit",
    by_class: bool = False,
) -> None:
    """Measures the methods on a run.

    Args:
      run_dir: Directory of a run.
      methods: Names of methods.
      metrics: Further columns.
      count: Number of examples.
      split: Name of the split; the one that training evaluates on when left out.
      score: What is explained of a class: its logit or its log-probability.
      by_class: Whether there are as many examples of each class.
    """
    run, began = dl.load(run_dir), time.process_time()
    data = run.experiment.data
    split = split or data.eval_split
    source = data.open(split, run.recipe.data_dir)
    ids = np.linspace(0, source.size - 1, count).astype(np.int32)
    if by_class:
        labels = np.asarray(data.fetch(source, np.arange(source.size, dtype=np.int32))["label"])
        places = [np.flatnonzero(labels == k) for k in np.unique(labels)]
        share = -(-count // len(places))
        ids = np.concatenate([p[np.linspace(0, len(p) - 1, min(share, len(p))).astype(int)] for p in places])
    found = explain_run(run, ids=ids.tolist(), split=split, methods=methods, metrics=metrics, score=score)
    report = found.report
    print(f"{len(ids)} examples of {split}, {found.told}\n{report.markdown()}\n{report.lead()}")
    print(f"not sane: {report.insane() or 'none'}; {time.process_time() - began:.0f} s of CPU time")


if __name__ == "__main__":
    tyro.cli(main)
