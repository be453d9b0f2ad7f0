"""`evaluate`: the metrics of a run on any of its splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab import scale
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.runs import datasets
from deeplab.train.evaluate import make_evaluator, predict
from deeplab.train.feed import make_feed
from deeplab.verbs.load import load
from deeplab.verbs.run import Run


@dataclasses.dataclass(frozen=True)
class Evaluation(Printable):
    """Metrics of one pass over a split.

    Attributes:
      split: Name of the split.
      step: Step of the evaluated state.
      metrics: Metrics by name.
    """

    split: str
    step: int
    metrics: Mapping[str, float]

    def __rich__(self) -> Any:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"{self.split} at step {self.step:,}: {values}"


def evaluate(run: Run | str | Path, split: str | None = None, **options: Any) -> Evaluation:
    """Evaluates a run: one exact pass over a split.

    Args:
      run: Run, or its directory.
      split: Name of the split; the one that training evaluates on when None.
      **options: Arguments of `dl.load`, if a directory is given.

    Raises:
      UserError: There is no such split, it is endless, or its classes are not those of the run.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> evaluate(dl.fit(experiment, smoke=True)).step
      4
    """
    run = run if isinstance(run, Run) else load(run, **options)
    data, recipe = run.experiment.data, run.recipe
    split = split or data.eval_split
    if split == "train":
        raise UserError(
            f"--split train is endless; evaluate on one of the other splits, such as --split {data.eval_split}"
        )
    source = data.open(split, recipe.data_dir)
    if run.directory is not None:
        datasets.check_evaluated(run.directory, run.record, data, split, source)
    feed = make_feed(data, source, scale.make_mesh(recipe.runtime.mesh))
    metrics = make_evaluator(run.experiment, feed, split, recipe.runtime)(run.state)
    metrics |= run.experiment.task.summarize(predict(run.experiment, run.state, feed, split, recipe.runtime))
    return Evaluation(split, run.step, metrics)
