"""The metric by which the best evaluation of a run is chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from deeplab.core.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Monitor:
    """A metric of the evaluation, and the direction in which it improves.

    Args:
      name: Name of the metric.
      direction: Direction of improvement: "min" if smaller is better, "max" if larger is better.

    Raises:
      UserError: The direction is neither "min" nor "max".

    Example:
      >>> Monitor("loss").score({"loss": 0.5}), Monitor("accuracy", "max").score({"accuracy": math.nan})
      (-0.5, -inf)
    """

    name: str = "loss"
    direction: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        if self.direction not in ("min", "max"):
            raise UserError(f"the direction of a Monitor is {self.direction!r}, expected 'min' or 'max'")

    @classmethod
    def parse(cls, record: Any) -> Monitor:
        """Parses the monitor of a run's record: `{"name", "direction"}`, or "-loss" and "accuracy" in older records.

        Example:
          >>> Monitor.parse("-loss"), Monitor.parse({"name": "f1", "direction": "max"})
          (Monitor(name='loss', direction='min'), Monitor(name='f1', direction='max'))
        """
        if isinstance(record, Monitor):
            return record
        if isinstance(record, Mapping):
            return cls(str(record["name"]), record["direction"])
        text = str(record)
        return cls(text.removeprefix("-"), "min" if text.startswith("-") else "max")

    def score(self, metrics: Mapping[str, float]) -> float:
        """The metric as a score that is larger for better values; -inf if it is not finite.

        Raises:
          UserError: The evaluation has no metric of this name.
        """
        if self.name not in metrics:
            raise UserError(f"the monitor {self.name!r} is no metric of the evaluation; {nearest(self.name, metrics)}")
        value = float(metrics[self.name])
        if not math.isfinite(value):
            return -math.inf
        return value if self.direction == "max" else -value


@dataclasses.dataclass(frozen=True)
class Best:
    """The best of the evaluations of a run so far.

    Args:
      score: Its score, from `Monitor.score`; -inf where none was finite.
      step: Its step; 0 before the first evaluation.
      since: Number of evaluations since, none of which was better.

    Example:
      >>> Best().after(10, -0.5).after(20, -0.4).after(30, -0.4)
      Best(score=-0.4, step=20, since=1)
    """

    score: float = -math.inf
    step: int = 0
    since: int = 0

    def after(self, step: int, score: float) -> Best:
        """The best after one more evaluation; an equal one is no improvement."""
        return Best(score, step) if score > self.score else dataclasses.replace(self, since=self.since + 1)
