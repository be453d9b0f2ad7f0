"""Probes by depth: what is measured, summary and page of the runs of `experiments.study_representation`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.metrics.base import Metrics
from deeplab.report import figures
from deeplab.report.render import Site, figure
from deeplab.report.text import Html, table, tag
from deeplab.representation import linear_probe
from deeplab.robust.conformal import uniforms
from deeplab.train.state import State
from deeplab.train.step import prepared
from deeplab.verbs.probing.features import INPUT, layers_of, reader

Summary = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Read:
    """Accuracy of a linear probe, which learns from a half of the examples, drawn by lot, and classifies the others.

    Attributes:
      features: Features of the examples, [B, D].
      label: Their classes, [B].
      id: Their numbers, [B].
      weight: 0 for padding, [B].
      shuffled: Whether the probe learns shuffled labels.
    """

    features: Any
    label: Any
    id: Any
    weight: Any
    shuffled: bool = dataclasses.field(default=False, metadata={"static": True})

    def __add__(self, other: Read) -> Read:
        features = np.concatenate([self.features, other.features], axis=-2)  # behind an axis of members
        told = (np.concatenate([getattr(one, n) for one in (self, other)], -1) for n in ("label", "id", "weight"))
        return Read(features, *told, shuffled=self.shuffled)

    def compute(self) -> float:
        """The accuracy."""
        # Not every second example: a set may lie in an order of its classes.
        learned, counted = uniforms(np.asarray(self.id), jax.random.key(0)) < 0.5, np.asarray(self.weight) > 0
        train, test = ((self.features[counted & part], self.label[counted & part]) for part in (learned, ~learned))
        found = linear_probe(train, test)
        return found.control if self.shuffled else found.accuracy


def probe(experiment: Experiment, runtime: Runtime = Runtime()) -> Callable[[State, Batch], Metrics]:
    """Makes the probes `linear/I NAME` and `control/I NAME` of each layer, the input first."""

    def measure(state: State, batch: Batch) -> Metrics:
        batch = prepared(experiment.data, batch)
        names = [INPUT, *(name for name in layers_of(experiment, state, batch, runtime) if name != INPUT)]
        found, told = reader(experiment, names, runtime)(state, batch), (batch["label"], batch["id"], batch["weight"])
        metrics: dict[str, Any] = {}
        for i, name in enumerate(names):
            for kind in ("linear", "control"):
                metrics[f"{kind}/{i} {name}"] = Read(found[name], *told, shuffled=kind == "control")
        return metrics

    return measure


def summarize(rows: Sequence[Mapping[str, Any]]) -> Summary:
    """Accuracies of the probes by layer, and their standard deviations over seeds, at each length of the training."""
    lengths = sorted({row["steps"] for row in rows})
    names = sorted((n for n in rows[0]["last"] if n.startswith("linear/")), key=lambda n: int(n[7:].split(" ")[0]))
    shortest = [row for row in rows if row["steps"] == lengths[0]]

    def curve(steps: int, found: Sequence[Mapping[str, Any]]) -> Summary:
        values = np.array([[one[name] for name in names] for one in found], np.float64)
        control = np.mean([[one[name.replace("linear", "control")] for name in names] for one in found])
        spread = values.std(axis=0, ddof=1).tolist() if len(values) > 1 else [0.0] * len(names)
        return {"steps": steps, "mean": values.mean(axis=0).tolist(), "deviation": spread, "control": float(control)}

    after = [curve(n, [row["last"] for row in rows if row["steps"] == n]) for n in lengths]
    return {
        "layers": [name.split(" ")[1] for name in names],
        "curves": [curve(0, [row["first"] for row in shortest]), *after],
        "runs": len(rows),
        "seconds": sum(row["seconds"] for row in rows),
    }


def sections(found: Summary) -> list[Html]:
    """The figure, and the table of its numbers."""
    depth = np.arange(len(found["layers"]))
    lines = []
    for i, curve in enumerate(found["curves"]):
        mean, deviation = np.array(curve["mean"]), np.array(curve["deviation"])
        color = figures.SERIES[(i - 1) % len(figures.SERIES)] if curve["steps"] else figures.TRAIN
        label = f"{curve['steps']:,} steps" if curve["steps"] else "initial weights"
        lines.append(figures.Line(label, depth, mean, color, band=(mean - deviation, mean + deviation)))
    svg = figures.curves(lines, share=True, log=False, span="all", x_label="layer")
    told = f"standard deviations over seeds; shuffled labels: {np.mean([c['control'] for c in found['curves']]):.1%}"
    head = ["layer", *(line.label for line in lines)]
    body = [
        [f"{i} {name}", *(f"{c['mean'][i]:.1%} ± {c['deviation'][i]:.1%}" for c in found["curves"])]
        for i, name in enumerate(found["layers"])
    ]
    return [
        tag("h2", "What a linear probe reads from each layer"),
        figure("Probes by depth", told, svg, Site("representation")),
        table(head, body, class_="numbers"),
    ]
