"""A report that ranks methods of explanation for one model and its data, beside two controls."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core.errors import UserError, nearest
from deeplab.core.printable import Printable
from deeplab.report.text import table

CONTROLS = ("random", "edges")
"""Rows of every report: maps that know nothing of the model."""

SANE = 0.3
"""Largest rank correlation with the map of randomized weights."""

MEANING: Mapping[str, str] = {
    "faithful": "insertion - deletion; ranks the rows",
    "insertion": "mean score while the highest features are inserted, high is good",
    "deletion": "mean score while the highest features are removed, low is good",
    "road": "score without the lowest pixels - without the highest, holes filled; high is good",
    "sensitivity_n": "correlation of random sums of the map with the fall of the score, high is good",
    "infidelity": "share of the score's change by noise that the map does not tell, low is good",
    "max_sensitivity": "largest change of the map by moves of the input, low is good",
    "pointing": "the largest feature lies in the mask",
    "mass": "share of the map that lies in the mask",
    "gini": "sparseness, 1 where one feature holds all",
    "randomized": f"rank correlation with the map of random weights; above {SANE} the map does not show the model",
    "seeds": "rank correlation between the maps of models of other seeds; low where the map changes with the seed",
    "attacked": "share of the largest features that an attack of the input leaves, high is good",
    "gap": "what the map lacks to add up to the score's difference, in units of its size",
    "forwards": "time, in evaluations of the model",
}


@dataclasses.dataclass(frozen=True)
class Report(Printable):
    """How far each method can be trusted, for one model and its data.

    Attributes:
      each: For each method and metric the value of every example, [B]; of the metrics in `MEANING`.
      maps: Map of each method, [B, ...].
      resamples: Number of resamples of the examples behind each interval.
    """

    each: Mapping[str, Mapping[str, np.ndarray]]
    maps: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)
    resamples: int = 1000

    @property
    def rows(self) -> dict[str, dict[str, tuple[float, tuple[float, float]]]]:
        """Mean and 95 % interval of each metric, the most faithful method first."""
        kept = {name: _finite(values["faithful"]) for name, values in self.each.items()}
        names = sorted(kept, key=lambda name: -kept[name].mean() if len(kept[name]) else math.inf)
        return {
            name: {metric: _told(values, self.resamples) for metric, values in self.each[name].items()}
            for name in names
        }

    def above(self, method: str, other: str, metric: str = "faithful") -> tuple[float, tuple[float, float]]:
        """Mean and 95 % interval of the difference of two methods on the same examples.

        Raises:
          UserError: there is no such method.
        """
        for name in (method, other):
            if name not in self.each:
                raise UserError(f"the report has no method {name!r}; {nearest(name, self.each)}")
        return _told(self.each[method][metric] - self.each[other][metric], self.resamples)

    def lead(self) -> str:
        """How far the most faithful method is above the controls, with the interval of the paired differences."""
        best = next((name for name in self.rows if name not in CONTROLS), None)
        if best is None:
            return ""
        controls = [control for control in CONTROLS if control in self.each]
        known = np.isfinite([self.each[name]["faithful"] for name in (best, *controls)]).all(axis=0)
        same = self.of(known)
        told = [f"{_cell(same.above(best, control))} above {control}" for control in controls]
        return f"{best} is {' and '.join(told)}, on the same {known.sum()} examples, in the column faithful"

    def insane(self) -> dict[str, float]:
        """The methods whose maps survive randomized weights, with their rank correlation; the controls always do."""
        means = {
            name: float(np.nanmean(values["randomized"]))
            for name, values in self.each.items()
            if name not in CONTROLS and "randomized" in values
        }
        return {name: mean for name, mean in means.items() if not abs(mean) <= SANE}

    def assert_sane(self) -> None:
        """Refuses methods whose maps survive randomized weights: they show the input, not what the model has learnt.

        Raises:
          UserError: there is such a method, or no model with randomized weights was given.
        """
        if not any("randomized" in values for values in self.each.values()):
            raise UserError("no model with randomized weights was given; give randomized= to faithfulness")
        if found := self.insane():
            told = ", ".join(f"{name} ({mean:.2f})" for name, mean in found.items())
            raise UserError(
                f"maps of randomized weights have a rank correlation above {SANE} with those of the model: {told}; do "
                "not read these maps as what the model has learnt"
            )

    def markdown(self) -> str:
        """The report as a table of Markdown."""
        head, body = self.cells()
        lines = ["| " + " | ".join(row) + " |" for row in [head, *body]]
        return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])

    def __rich__(self) -> Any:
        from rich.text import Text

        return Text(self.markdown())

    def _repr_html_(self) -> str:
        head, body = self.cells()
        told = "".join(f"<li><b>{name}</b>: {MEANING[name]}</li>" for name in head[1:])
        return table(head, body, class_="numbers") + f"<details><summary>columns</summary><ul>{told}</ul></details>"

    def of(self, examples: Any) -> Report:
        """The report of some of its examples: an index, a slice or a mask."""
        each = {name: {k: v[examples] for k, v in values.items()} for name, values in self.each.items()}
        return Report(each, {name: value[examples] for name, value in self.maps.items()}, self.resamples)

    def but(self, names: Sequence[str]) -> Report:
        """The report without some of its methods."""
        kept = [name for name in self.each if name not in names]
        maps = {name: self.maps[name] for name in kept if name in self.maps}
        return Report({name: self.each[name] for name in kept}, maps, self.resamples)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The heads of the table, and its rows of text."""
        rows, failed = self.rows, self.insane()
        metrics = [name for name in MEANING if any(name in values for values in rows.values())]
        body = [
            [name + (" (fails)" if name in failed else ""), *(_cell(values.get(metric)) for metric in metrics)]
            for name, values in rows.items()
        ]
        return ["method", *metrics], body


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]


def _told(values: np.ndarray, resamples: int) -> tuple[float, tuple[float, float]]:
    """The mean and its 95 % percentile interval over resamples of the examples; NaN counts nowhere."""
    kept = _finite(values)
    if not len(kept):
        return math.nan, (math.nan, math.nan)
    draws = np.random.default_rng(0).integers(len(kept), size=(resamples, len(kept)))
    low, high = np.percentile(kept[draws].mean(axis=1), [2.5, 97.5])
    return float(kept.mean()), (float(low), float(high))


def _cell(told: tuple[float, tuple[float, float]] | None) -> str:
    if told is None or math.isnan(told[0]):
        return "-"
    mean, (low, high) = told
    return f"{mean:.3g} ({low:.3g} to {high:.3g})" if high > low else f"{mean:.3g}"


def columns(metrics: Sequence[str]) -> tuple[str, ...]:
    """Names of metrics that exist.

    Raises:
      UserError: there is no such metric.
    """
    for name in metrics:
        if name not in MEANING:
            raise UserError(f"the metric {name!r} is unknown; {nearest(name, MEANING)}")
    return tuple(metrics)
