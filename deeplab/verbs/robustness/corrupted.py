"""What is left of the task's own metric where images, sounds, texts or rows of numbers are corrupted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
from deeplab.data.sets.text.labeled import LabeledText
from deeplab.report.text import metric
from deeplab.robust import corruptions
from deeplab.robust.attacks.evaluation.measure import with_arguments
from deeplab.verbs.robustness.examined import Examined


@dataclasses.dataclass(frozen=True)
class Corrupted:
    """A metric by corruption and severity.

    Attributes:
      metric: Name of the metric.
      clean: Its value without a corruption.
      values: Its values by corruption, one for each severity.
      severities: Severities, of 1 to 5.
      falls: Whether the metric is lower where the predictions are worse.
    """

    metric: str
    clean: float
    values: Mapping[str, Sequence[float]]
    severities: tuple[int, ...]
    falls: bool = True

    @property
    def mean(self) -> float:
        """Mean over all corruptions and severities."""
        return float(np.mean([np.mean(each) for each in self.values.values()]))

    @property
    def lead(self) -> str:
        """A sentence."""
        return f"{self.metric} {self.clean:.3g}, and {self.mean:.3g} on average over {len(self.values)} corruptions"

    @property
    def block(self) -> Block:
        """A table, the hardest corruption first."""
        head = ["corruption", *(f"severity {severity}" for severity in self.severities), "mean"]
        order = sorted(self.values.items(), key=lambda item: float(np.mean(item[1])), reverse=not self.falls)
        body = [[name, *(metric(self.metric, x) for x in (*each, float(np.mean(each))))] for name, each in order]
        clean, mean = (metric(self.metric, x) for x in (self.clean, self.mean))
        note = f"{self.metric} by severity, of 1 to 5; without a corruption {clean}, the mean over all {mean}."
        return blocks.section("Corrupted", blocks.rows(head, body, numeric=True), note=note)


def corrupted(what: Examined, severities: Sequence[int], data_dir: Any = None) -> Corrupted:
    """Measures the accuracy, or else the monitored metric, under corruptions of what is stored.

    Images are under the fifteen common corruptions; waveforms under noise, reverberation, clipping and speed; the texts
    of labeled texts have typing errors and other cases; rows of numbers have missing columns, each the mean of the
    examples there, and columns shifted by parts of their standard deviation.

    Args:
      what: What is tested.
      severities: Severities, of 1 to 5.
      data_dir: Folder of the data.

    Raises:
      UserError: A severity is none, or the run reads nothing of these kinds.
    """
    if not severities:
        raise UserError("no severities were given, expected some of 1, 2, 3, 4, 5")
    task, monitor = what.experiment.task, what.experiment.monitor
    run = with_arguments(what.apply, lambda apply, batch, key: task.metrics(apply, batch, key))
    found = _record(what, run, severities, data_dir)
    name = next((each for each in ("accuracy", monitor.name) if each in found["clean"]), "loss")
    falls = name == "accuracy" or (name == monitor.name and monitor.direction == "max")

    def only(row: Mapping[str, Any]) -> float:
        return float(row[name])

    values = {each: tuple(map(only, rows)) for each, rows in found["corrupted"].items()}
    return Corrupted(name, only(found["clean"]), values, tuple(severities), falls)


def _record(what: Examined, run: Callable[..., Any], severities: Sequence[int], data_dir: Any) -> corruptions.Record:
    experiment, key, field = what.experiment, jax.random.key(0), what.seam.name
    builder, stored = getattr(experiment.data, "builder", None), what.raws[0]

    def under(made: Mapping[str, Sequence[corruptions.Corruption]], **given: Any) -> corruptions.Record:
        chosen = {name: [each[s - 1] for s in severities] for name, each in made.items()}
        options: dict[str, Any] = {"evaluate": run, "batches": lambda: what.batches, "field": field, "key": key}
        return corruptions.corrupt(corruptions=chosen, **(options | given))

    if what.moves_images:
        return under(corruptions.commons())
    if "audio" in stored and (rate := getattr(builder, "rate", None)):
        sounds = [raw | {"audio": np.asarray(raw["audio"], np.float32)} for raw in what.raws]
        return under(
            corruptions.sounds.audible(rate),
            evaluate=lambda raw, key: run(what.prepare(raw), key),
            batches=lambda: sounds,
            field="audio",
        )
    if isinstance(builder, LabeledText):
        return _written(what, run, severities, lambda raw, change: builder.rewritten(raw, change, data_dir))
    if not what.seam.tap and np.ndim(what.batches[0][field]) == 2:
        x = np.concatenate([np.asarray(batch[field], np.float64) for batch in what.batches])
        return under(corruptions.columns.tabular(x.mean(axis=0), x.std(axis=0)))
    raise UserError(
        "corruptions are of images in [0, 1], waveforms, labeled texts and rows of numbers; this run has none"
    )


def _written(
    what: Examined, run: Callable[..., Any], severities: Sequence[int], rewritten: Callable[..., Any]
) -> corruptions.Record:
    """The record of texts, which are changed before they are cut into tokens."""

    def measured(change: Callable[[str, int], str]) -> dict[str, float]:
        batches = [what.prepare(rewritten(raw, change)) for raw in what.raws]
        return corruptions.corrupt(run, lambda: batches, {}, key=jax.random.key(0))["clean"]

    shares = [corruptions.WRITING[s - 1] for s in severities]
    kinds = {"typing errors": corruptions.typos, "other case": corruptions.casing}
    return {
        "clean": measured(lambda text, _: text),
        "corrupted": {
            name: [measured(lambda text, seed, kind=kind, share=share: kind(text, share, seed)) for share in shares]
            for name, kind in kinds.items()
        },
    }
