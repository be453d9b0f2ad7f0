"""What is left of the task's own metric where images are corrupted, or other numbers are noisy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
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
    """

    metric: str
    clean: float
    values: Mapping[str, Sequence[float]]
    severities: tuple[int, ...]

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
        """A table, the hardest corruption first where less is worse."""
        head = ["corruption", *(f"severity {severity}" for severity in self.severities), "mean"]
        order = sorted(self.values.items(), key=lambda item: float(np.mean(item[1])))
        body = [[name, *(metric(self.metric, x) for x in (*each, float(np.mean(each))))] for name, each in order]
        clean, mean = (metric(self.metric, x) for x in (self.clean, self.mean))
        note = f"{self.metric} by severity, of 1 to 5; without a corruption {clean}, the mean over all {mean}."
        return blocks.section("Corrupted", blocks.rows(head, body, numeric=True), note=note)


def corrupted(what: Examined, severities: Sequence[int]) -> Corrupted:
    """Measures the monitored metric under the fifteen common corruptions of images.

    Args:
      what: What is tested.
      severities: Severities, of 1 to 5.

    Raises:
      UserError: The model reads no images.
    """
    if not what.moves_images:
        raise UserError("the common corruptions are of images in [0, 1], which this model does not read")
    if not severities or not set(severities) <= set(range(1, 6)):
        raise UserError(f"severities={tuple(severities)} was given, expected some of 1, 2, 3, 4, 5")
    task, monitor = what.experiment.task, what.experiment.monitor
    run = with_arguments(what.apply, lambda apply, batch, key: task.metrics(apply, batch, key))
    found = corruptions.corrupt(
        run,
        lambda: what.batches,
        {each: [corruptions.common(each, s) for s in severities] for each in corruptions.BENCHMARK},
        field=what.seam.name,
        key=jax.random.key(0),
    )
    name = next((each for each in ("accuracy", monitor.name) if each in found["clean"]), "loss")

    def only(row: Mapping[str, Any]) -> float:
        return float(row[name])

    values = {each: tuple(map(only, rows)) for each, rows in found["corrupted"].items()}
    return Corrupted(name, only(found["clean"]), values, tuple(severities))
