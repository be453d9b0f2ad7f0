"""`probe`: what linear classifiers and neighbors read from each layer of a run, beside a random network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deeplab.core import blocks, ranges
from deeplab.core.blocks import Block, wilson
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.explain.view.show import Shown
from deeplab.report.document import document, save
from deeplab.report.render import Site, render
from deeplab.report.text import join, tag
from deeplab.representation import knn_predict, linear_probe
from deeplab.train.initialize import init
from deeplab.verbs.load import Checkpoint, load
from deeplab.verbs.probing.features import features_of, layers_of, spread
from deeplab.verbs.run import Run


@dataclasses.dataclass(frozen=True)
class Layer:
    """What is read from one layer, as shares of the test examples that are classified rightly.

    Attributes:
      name: Name of the tap.
      linear: By a linear probe.
      random: By a linear probe of the same layer of a network with initial weights.
      control: By a linear probe that learned shuffled labels.
      neighbors: By the vote of the nearest neighbors.
      random_neighbors: By these, of the network with initial weights.
    """

    name: str
    linear: float
    random: float
    control: float
    neighbors: float
    random_neighbors: float

    @property
    def gain(self) -> float:
        """What training has added for a linear probe."""
        return self.linear - self.random


@dataclasses.dataclass(frozen=True)
class Hierarchy(Printable):
    """What is read from the layers of a network, from its input on.

    Attributes:
      layers: Layers in the order of the program.
      chance: Share of the most frequent class of the test examples.
      sizes: Numbers of examples that a probe learned from, and that it classified.
    """

    layers: tuple[Layer, ...]
    chance: float
    sizes: tuple[int, int]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A figure and a table, as blocks of `deeplab.core.blocks`."""
        lines = {
            "trained": [layer.linear for layer in self.layers],
            "initial weights": [layer.random for layer in self.layers],
            "shuffled labels": [layer.control for layer in self.layers],
            "neighbors, trained": [layer.neighbors for layer in self.layers],
            "neighbors, initial weights": [layer.random_neighbors for layer in self.layers],
        }
        told = f"{self.sizes[1]} test examples, probes of {self.sizes[0]}; the most frequent class: {self.chance:.1%}"
        figure = blocks.curve(
            {name: np.array(values) for name, values in lines.items()},
            "layer",
            title="Probes by depth",
            note=told,
            percent=True,
            reference=("shuffled labels",),
        )
        shown = [figure] if len(self.layers) > 1 else []
        return (blocks.section("What each layer tells", *shown, blocks.rows(*self._cells(), numeric=True)),)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["layer", "linear", "95 %", "initial weights", "gain", "shuffled labels", "neighbors", "initial weights"]
        total = self.sizes[1]
        body = [
            [
                f"{i} {x.name}",
                f"{x.linear:.1%}",
                " to ".join(f"{bound:.1%}" for bound in wilson(round(x.linear * total), total)),
                f"{x.random:.1%}",
                f"{x.gain:+.1%}",
                f"{x.control:.1%}",
                f"{x.neighbors:.1%}",
                f"{x.random_neighbors:.1%}",
            ]
            for i, x in enumerate(self.layers)
        ]
        return head, body

    def __rich__(self) -> Any:
        from rich.table import Table

        head, body = self._cells()
        table = Table(*head, box=None)
        for row in body:
            table.add_row(*row)
        return table

    def _repr_html_(self) -> str:
        return Shown(self.blocks)._repr_html_()


@ranges.checked(train=ranges.COUNT, test=ranges.COUNT, k=ranges.COUNT)
def probe(
    run: Run | str | Path,
    layers: Sequence[str] = (),
    *,
    label: str = "label",
    split: str | None = None,
    train: int = 2000,
    test: int = 1000,
    k: int = 20,
    seed: int = 0,
    checkpoint: Checkpoint = "last",
) -> Hierarchy:
    """Probes each layer of a run: what a linear classifier and the nearest neighbors read from its features.

    A layer's figure says something beside two others: that of the same network with initial weights, and that of
    shuffled labels, which no feature can tell. Features are means over places or positions.

    Args:
      run: Run, or its directory.
      layers: Names of taps, or "input"; the parts of the model in their order when empty.
      label: Name of the field of classes.
      split: Name of the split of the test examples; the one that training evaluates on when None.
      train: Number of training examples that probes learn from.
      test: Number of examples that they classify.
      k: Number of neighbors.
      seed: Seed of the initial weights and of the shuffled labels.
      checkpoint: Name of the checkpoint, if a directory is given.

    Raises:
      UserError: The data have no class for each example, or the model no layer of features.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> found = probe(dl.fit(experiment, smoke=True), train=100, test=50)
      >>> found.layers[0].name, found.sizes
      ('input', (100, 50))

    Source: Alain and Bengio 2016, https://arxiv.org/abs/1610.01644
    """
    run = run if isinstance(run, Run) else load(run, checkpoint=checkpoint)
    experiment, data_dir, runtime = run.experiment, run.recipe.data_dir, run.recipe.runtime
    data = experiment.data
    parts = (
        spread(data, "train", train, data_dir),
        spread(data, split or data.eval_split, test, data_dir),
    )
    blank = init(experiment, jax.random.key(seed), runtime)
    names = tuple(layers) or layers_of(experiment, run.state, next(parts[0]()), runtime)
    if not names:
        raise UserError(f"{type(experiment.model).__name__} has no layer with features of each example; name taps")
    (x, y), (x_test, y_test) = (
        features_of(experiment, run.state, part(), names, runtime, label=label) for part in parts
    )
    (r, _), (r_test, _) = (features_of(experiment, blank, part(), names, runtime, label=label) for part in parts)
    found, chance = [], 0.0
    for name in names:
        trained = linear_probe((x[name], y), (x_test[name], y_test), seed=seed)
        random = linear_probe((r[name], y), (r_test[name], y_test), seed=seed)
        votes = [knn_predict(a[name], y, b[name], min(k, len(y))) for a, b in ((x, x_test), (r, r_test))]
        near = [float(np.mean(vote == y_test)) for vote in votes]
        found.append(Layer(name, trained.accuracy, random.accuracy, trained.control, *near))
        chance = trained.chance
    return Hierarchy(tuple(found), chance, (len(y), len(y_test)))


def page(found: Hierarchy, name: str, path: Path) -> Path:
    """Writes the page of probes.

    Args:
      found: What was read.
      name: Name of the experiment.
      path: Path of the page.
    """
    drawn = [render(block, Site(f"probed-{i}")) for i, block in enumerate(found.blocks)]
    return save(path, document(f"{name} probed", join(tag("p", name, class_="eyebrow"), tag("h1", "Probes"), *drawn)))
