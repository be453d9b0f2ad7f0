"""`evaluate`: the metrics of a run on any of its splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab import scale
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
    """Evaluates a run: one exact pass over a split; that of training is read whole, and without augmentation.

    Args:
      run: Run, or its directory.
      split: Name of the split; the one that training evaluates on when None.
      **options: Arguments of `dl.load`, if a directory is given.

    Raises:
      UserError: There is no such split, or its classes are not those of the run.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> evaluate(dl.fit(experiment, smoke=True)).step
      4
    """
    run = run if isinstance(run, Run) else load(run, **options)
    recipe, data = run.recipe, run.experiment.data.in_one_pass()
    experiment = dataclasses.replace(run.experiment, data=data)
    split = split or data.eval_split
    if run.directory is not None:
        recorded = run.experiment.data
        source = recorded.open(split, recipe.data_dir)
        datasets.check_evaluated(run.directory, run.record, recorded, split, source)
    feed = make_feed(data, data.open(split, recipe.data_dir), scale.make_mesh(recipe.runtime.mesh))
    metrics = make_evaluator(experiment, feed, split, recipe.runtime)(run.state)
    metrics |= experiment.task.summarize(predict(experiment, run.state, feed, split, recipe.runtime))
    return Evaluation(split, run.step, metrics)
