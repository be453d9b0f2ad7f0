"""`evaluate`: the metrics of a run on any of its splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab import scale
from deeplab.core.arguments import same
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.runs import evaluations
from deeplab.runs.effects import warn_of
from deeplab.runs.identity import datasets, provenance
from deeplab.scale import processes
from deeplab.train.evaluate import make_evaluator, predict
from deeplab.train.feed import make_feed
from deeplab.verbs.load import opened
from deeplab.verbs.run import Run


@dataclasses.dataclass(frozen=True)
class Evaluation(Printable):
    """Metrics of one pass over a split.

    Attributes:
      split: Name of the split.
      step: Step of the evaluated state.
      metrics: Metrics by name.
      recorded: Whether the run directory holds it now.
      unrecorded: Reason why a run with a directory does not hold it; "" otherwise.
    """

    split: str
    step: int
    metrics: Mapping[str, float]
    recorded: bool = False
    unrecorded: str = ""

    def __rich__(self) -> Any:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        note = f"; not recorded in the run, since {self.unrecorded}" if self.unrecorded else ""
        return f"{self.split} at step {self.step:,}: {values}{note}"


def evaluate(run: Run | str | Path, split: str | None = None, **options: Any) -> Evaluation:
    """Evaluates a run: one exact pass over a split; that of training is read whole, and without augmentation.

    The result is recorded in the run's directory, unless the state, the arguments or the source are not the run's, or
    the directory cannot be written.

    Args:
      run: Run, or its directory.
      split: Name of the split; the one that training evaluates on when None.
      **options: Arguments of `dl.load`, if a directory is given.

    Raises:
      UserError: There is no such split, its classes are not those of the run, or options are given with a `Run`.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> evaluate(dl.fit(experiment, smoke=True)).step
      4
    """
    run = opened(run, **options)
    recipe, data = run.recipe, run.experiment.data.in_one_pass()
    experiment = dataclasses.replace(run.experiment, data=data)
    split = split or data.eval_split
    content: Mapping[str, Any] = {}
    if run.directory is not None:
        recorded = run.experiment.data
        source = recorded.open(split, recipe.data_dir)
        content = datasets.check_evaluated(run.directory, run.record, recorded, split, source)
    feed = make_feed(data, data.open(split, recipe.data_dir), scale.make_mesh(recipe.runtime.mesh))
    metrics = make_evaluator(experiment, feed, split, recipe.runtime)(run.state)
    warn_of(experiment, metrics, split)
    metrics |= experiment.task.summarize(predict(experiment, run.state, feed, split, recipe.runtime))
    if run.directory is None:
        return Evaluation(split, run.step, metrics)
    unrecorded = _what_is_foreign(run, run.directory)
    if not unrecorded and processes.is_primary():
        try:
            evaluations.add(run.directory, run.step, split, metrics, content)
        except UserError as error:  # of a read-only or full disk, which must not cost the metrics
            unrecorded = str(error)
    return Evaluation(split, run.step, metrics, not unrecorded, unrecorded)


def _what_is_foreign(run: Run, directory: Path) -> str:
    """What is not the run's, so that its directory must not hold the evaluation; "" if all is."""
    record, recipe = run.record, run.recipe
    if not same(record.get("arguments"), recipe.recorded) or record.get("seed") != recipe.seed:
        return "its arguments or its seed are others"
    source = directory / "source.py"
    texts = (source.read_text(encoding="utf-8") if source.exists() else recipe.source), recipe.source
    if provenance.canonical(texts[0]) != provenance.canonical(texts[1]):
        return "the source of the experiment has changed"
    return "" if evaluations.is_of_run(directory, run.step, run.state) else "its state is that of no checkpoint"
