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
from deeplab.experiment import Experiment
from deeplab.explain.view.show import Shown
from deeplab.report.document import document, save
from deeplab.report.render import Site, render
from deeplab.report.text import join, tag
from deeplab.representation import knn_predict, linear_probe
from deeplab.train.initialize import init
from deeplab.verbs.explaining.subject import preparer
from deeplab.verbs.load import Checkpoint, load, opened
from deeplab.verbs.probing import views
from deeplab.verbs.probing.features import features_of, images_of, layers_of, reader, spread
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
      further: Further sections of the page.
    """

    layers: tuple[Layer, ...]
    chance: float
    sizes: tuple[int, int]
    further: tuple[Block, ...] = ()

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A figure and a table, as blocks of `deeplab.core.blocks`."""
        lines = {
            "linear": [layer.linear for layer in self.layers],
            "linear, initial": [layer.random for layer in self.layers],
            "shuffled labels": [layer.control for layer in self.layers],
            "neighbors": [layer.neighbors for layer in self.layers],
            "neighbors, initial": [layer.random_neighbors for layer in self.layers],
        }
        told = f"share of {self.sizes[1]} test examples; the most frequent class has {self.chance:.1%}"
        note = (
            "What is classified rightly from the features of a layer, by a linear probe and by the vote of the nearest "
            f"neighbors, each of {self.sizes[0]} training examples; initial: of a network with initial weights. A "
            "probe that learned shuffled labels tells what chance gives."
        )
        figure = blocks.curve(
            {name: np.array(values) for name, values in lines.items()},
            "layer",
            title="Probes by depth",
            note=told,
            percent=True,
            reference=("shuffled labels",),
        )
        shown = [figure] if len(self.layers) > 1 else []
        first = blocks.section("What each layer tells", *shown, blocks.rows(*self._cells(), numeric=True), note=note)
        return first, *self.further

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["layer", "linear", "95 % interval", "linear, initial", "gain", "shuffled labels"]
        head += ["neighbors", "neighbors, initial"]
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
    on: Run | str | Path | None = None,
    beside: Run | str | Path | None = None,
    look: bool = False,
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
      checkpoint: Name of the checkpoint of each run that is given as a directory.
      on: Run on whose data the features are probed, such as those of another experiment; the run's own when None.
      beside: Run to whose layers those of the run are compared, on the same data: of another seed, method or network.
      look: Whether to add what needs minutes: few labels, the spread of features, a map of neighborhoods, and, of
        images, the first filters and what units answer to.

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
    run, beside, given = _opened(run, beside, run if on is None else on, checkpoint)
    data_dir, runtime = given.recipe.data_dir, run.recipe.runtime
    experiment = _reading(run.experiment, given.experiment.data)
    data = experiment.data
    parts = spread(data, "train", train, data_dir), spread(data, split or data.eval_split, test, data_dir)
    blank = init(experiment, jax.random.key(seed), runtime)
    names = tuple(layers) or layers_of(experiment, run.state, next(parts[0]()), runtime)
    if not names:
        raise UserError(f"{type(experiment.model).__name__} has no layer with features of each example; name taps")
    shared: Any = {"label": label, "prepare": preparer(experiment), "read": jax.jit(reader(experiment, names, runtime))}
    trained, random = (
        [features_of(experiment, state, part(), names, runtime, **shared) for part in parts]
        for state in (run.state, blank)
    )
    found, chance = _layers(names, trained, random, k, seed)
    further = []
    if beside is not None or look:
        further.append(views.similarities(trained[1][0], *_other(beside, trained[1][0], data, parts[1], label)))
    if look:
        best = max(found, key=lambda layer: layer.neighbors).name
        further += views.looked(trained, random, best, images_of(experiment, parts[1]()), run.state.params, seed)
    return Hierarchy(found, chance, (len(trained[0][1]), len(trained[1][1])), tuple(further))


def _opened(run: Any, beside: Any, on: Any, checkpoint: Checkpoint) -> tuple[Run, Run | None, Run]:
    """The three runs; the checkpoint is that of each that is given as a directory."""
    if all(isinstance(each, Run | None) for each in (run, beside, on)):
        opened(run, checkpoint)  # which refuses a checkpoint that nothing is loaded from
    first, other, given = (each if isinstance(each, Run | None) else load(each, checkpoint=checkpoint)
                           for each in (run, beside, None if on is run else on))  # fmt: skip
    assert first is not None
    return first, other, given or first


def _reading(experiment: Experiment, data: Any) -> Experiment:
    """The experiment on other data, which its network reads as it has learned its own: normalized alike."""
    if data is experiment.data:
        return experiment
    data = dataclasses.replace(data, normalize=experiment.data.normalize)
    return dataclasses.replace(experiment, data=data)


def _layers(
    names: Sequence[str], trained: Sequence[Any], random: Sequence[Any], k: int, seed: int
) -> tuple[tuple[Layer, ...], float]:
    """What is read from each layer, and the share of the most frequent class."""
    ((x, y), (x_test, y_test)), ((r, _), (r_test, _)) = trained, random
    found, chance = [], 0.0
    for name in names:
        read = linear_probe((x[name], y), (x_test[name], y_test), seed=seed)
        blind = linear_probe((r[name], y), (r_test[name], y_test), seed=seed)
        votes = [knn_predict(a[name], y, b[name], min(k, len(y))) for a, b in ((x, x_test), (r, r_test))]
        near = [float(np.mean(vote == y_test)) for vote in votes]
        found.append(Layer(name, read.accuracy, blind.accuracy, read.control, *near))
        chance = read.chance
    return tuple(found), chance


def _other(beside: Run | None, own: Any, data: Any, part: Any, label: str) -> tuple[Any, str]:
    """The features that layers are compared to, and what they are."""
    if beside is None:
        return own, "of the run with itself"
    experiment = _reading(beside.experiment, data)
    names = layers_of(experiment, beside.state, next(part()), beside.recipe.runtime)
    found, _ = features_of(experiment, beside.state, part(), names, beside.recipe.runtime, label=label)
    return found, f"rows: the run; columns: {beside.directory or beside.recipe.name}"


def page(found: Hierarchy, name: str, path: Path) -> Path:
    """Writes the page of probes.

    Args:
      found: What was read.
      name: Name of the experiment.
      path: Path of the page.
    """
    drawn = [render(block, Site(f"probed-{i}")) for i, block in enumerate(found.blocks)]
    return save(path, document(f"{name} probed", join(tag("p", name, class_="eyebrow"), tag("h1", "Probes"), *drawn)))
