"""`Run`: a trained run, either just finished or loaded from its directory."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError, nearest
from deeplab.core.printable import Printable
from deeplab.core.text import loads
from deeplab.data.base import Batch, raw_spec
from deeplab.experiment import Experiment
from deeplab.runs import evaluations
from deeplab.runs.identity.datasets import class_names
from deeplab.tasks.contract.apply import Apply
from deeplab.train.bind import bind
from deeplab.train.state import State, eval_state
from deeplab.train.step import make_predict
from deeplab.verbs.export import OF_LABELS, export
from deeplab.verbs.recipe import Recipe


@dataclasses.dataclass(frozen=True, eq=False)
class Run(Printable):
    """A run with its state.

    Attributes:
      recipe: Recipe of the run.
      experiment: Experiment that the run trained.
      state: State after the last step, or that of the loaded checkpoint.
      directory: Run directory; None for a run that was kept in memory.
      metrics: Metrics by split: the final ones, if the run has ended, and those of its recorded evaluations.
      seconds: Training time, in seconds.
      resumed_from: Step from which the last session resumed; None if it was the first.
      stopped: Exit code of the signal that stopped the run, or 0 where its budget of time did; None if nothing did.
      best_step: Step of the best evaluation, where the experiment's patience ended the run; None otherwise.
      report: Path of the report; None if there is no report.
      rows: Rows of metrics: `step`, `split`, and metrics by name.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> run = dl.fit(experiment, smoke=True)
      >>> run.step, sorted(run.metrics["test"]), run.directory
      (4, ['accuracy', 'loss'], None)
    """

    recipe: Recipe
    experiment: Experiment
    state: State
    directory: Path | None = None
    metrics: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    resumed_from: int | None = None
    stopped: int | None = None
    report: Path | None = None
    rows: tuple[Mapping[str, Any], ...] = ()
    best_step: int | None = None

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return int(self.state.step)

    @property
    def told_early(self) -> str:
        """The end of a run that its patience has ended, in a line; "" of any other."""
        if self.best_step is None:
            return ""
        return f"stopped early at step {self.step:,} of {self.experiment.num_steps:,}, best at step {self.best_step:,}"

    def predict(self, inputs: Any) -> dict[str, np.ndarray]:
        """Predictions of the task for examples in memory.

        Args:
          inputs: Raw examples [N, ...], as in the data set (images: uint8, or floats in [0, 1]); a dict by field name
            if the model reads several fields. Fields that only training needs, such as the label, may be absent.

        Returns:
          Arrays [N, ...] by name, such as `prediction` and `probability`.

        Raises:
          UserError: A field is missing, or has another shape than the experiment's data.

        Example:
          >>> import deeplab as dl
          >>> from experiments.image_digits import experiment
          >>> run = dl.fit(experiment, smoke=True)
          >>> run.predict(np.zeros((3, 8, 8, 1), np.uint8))["prediction"].shape
          (3,)
        """
        data, fields = self.experiment.data, self.experiment.task.fields
        batch = dict(inputs) if isinstance(inputs, Mapping) else {fields[0]: inputs}
        batch = {name: np.asarray(value) for name, value in batch.items()}
        known = raw_spec(data)
        if bare := [name for name, value in batch.items() if not value.ndim]:
            raise UserError(f"predict was given {bare[0]}={batch[bare[0]]}, expected an array of examples [N, ...]")
        sizes = {name: len(value) for name, value in batch.items()}
        if not sizes or len(set(sizes.values())) > 1:
            raise UserError(f"predict was given fields of sizes {sizes}, expected one size, the number of examples")
        if not max(sizes.values()):
            raise UserError(f"predict was given no example ({sizes}); give one or more")
        for name, value in batch.items():
            if name not in known:
                raise UserError(f"predict was given a field {name!r}; {nearest(name, known)}")
            if value.shape[1:] != known[name].shape[1:]:
                expected = ", ".join(map(str, known[name].shape[1:]))
                raise UserError(f"{name!r} is {list(value.shape)}, expected [N, {expected}]")
        size, total = min(data.batch_size, max(sizes.values())), max(sizes.values())
        parts = [self._batch(batch, start, size) for start in range(0, total, size)]
        return {name: np.concatenate([part[name] for part in parts])[:total] for name in parts[0]}

    @functools.cached_property
    def _predicts(self) -> Callable[[State, Batch], dict[str, Any]]:
        """The compiled prediction function: kept, so that a second call of one size compiles nothing."""
        return jax.jit(make_predict(self.experiment, self.recipe.runtime))

    def _batch(self, fields: Mapping[str, np.ndarray], start: int, size: int) -> dict[str, np.ndarray]:
        """Predicts one batch, padded with its first example to a fixed size, so that it compiles once."""
        part = {name: value[start : start + size] for name, value in fields.items()}
        count = len(next(iter(part.values())))
        rows = np.where(np.arange(size) < count, np.arange(size), 0)
        batch = {name: value[rows] for name, value in part.items()}
        batch |= {"weight": (np.arange(size) < count).astype(np.float32), "id": np.arange(size, dtype=np.int32)}
        labeled = "label" in fields or "target" in fields
        out = jax.device_get(self._predicts(self.state, batch))
        return {name: value for name, value in out.items() if labeled or name not in OF_LABELS}

    def bound(self, size: int) -> Apply:
        """The model with the weights that evaluations use, as a task receives it, for batches of so many examples."""
        return bind(self.experiment, eval_state(self.state), {"id": jnp.arange(size)}, self.recipe.runtime)

    @property
    def record(self) -> dict[str, Any]:
        """The run's record, `run.json`; {} for a run that was kept in memory."""
        path = self.directory and self.directory / "run.json"
        return loads(path.read_bytes()) if path and path.exists() else {}

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Recorded evaluations by step, each with `step`, `split`, `metrics`, `time` and `data`; [] without any."""
        return evaluations.read(self.directory) if self.directory else []

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that the run was trained with, in order, whatever the data call them now."""
        return tuple(map(str, self.record.get("class_names") or class_names(self.experiment.data)))

    def describe(self, predictions: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Scalar predictions of each example, with the run's class names in place of numbers."""
        size = len(next(iter(predictions.values()))) if predictions else 0
        one = [{name: value[i] for name, value in predictions.items()} for i in range(size)]
        described, names = [self.experiment.data.describe(prediction) for prediction in one], self.class_names
        if names != class_names(self.experiment.data):
            for values, prediction in zip(described, one, strict=True):
                if "prediction" in values:
                    values["prediction"] = names[int(prediction["prediction"])]
        return described

    def export(
        self,
        path: str | Path,
        *,
        fields: Sequence[str] = (),
        batch_size: int | None = None,
        platforms: Sequence[str] = (),
    ) -> Path:
        """Writes the prediction function, with its weights, as StableHLO: a program that loads without deeplab.

        Args:
          path: File to write, such as "digits.stablehlo".
          fields: Names of the raw fields that the program reads; those that the model reads when empty.
          batch_size: Number of examples in one call of the program; that of training when None.
          platforms: Platforms that the program runs on, such as ("cpu", "cuda"); this process's own when empty.

        Example:
          >>> import tempfile
          >>> import deeplab as dl
          >>> from experiments.image_digits import experiment
          >>> run = dl.fit(experiment, smoke=True)
          >>> file = run.export(tempfile.mkdtemp() + "/digits.stablehlo", batch_size=2)
          >>> program = jax.export.deserialize(bytearray(file.read_bytes()))
          >>> program.call({"image": np.zeros((2, 8, 8, 1), np.uint8)})["prediction"].shape
          (2,)
        """
        size = batch_size or self.experiment.data.batch_size
        names = tuple(fields) or self.experiment.task.fields
        return export(self.recipe, self.experiment, self.state, Path(path), names, size, platforms)

    @property
    def curves(self) -> Any:
        """Rows of metrics as a pandas data frame, one row for each step and split."""
        try:
            import pandas as pd
        except ImportError as error:
            raise UserError("curves are a data frame of pandas: pip install pandas; or read run.rows") from error
        return pd.DataFrame(list(self.rows))

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table("run", str(self.directory or f"{self.recipe.name}, in memory"), box=None)
        steps = f"{self.step:,} of {self.experiment.num_steps:,}"
        table.add_row("steps", steps if self.best_step is None else f"{steps}: {self.told_early}")
        table.add_row("seconds", f"{self.seconds:,.1f}")
        for split, values in self.metrics.items():
            table.add_row(split, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        if self.report:
            table.add_row("report", str(self.report))
        return table
