"""How many predictions survive an attack, by its radius; the gates against masked gradients; the nearest mistakes."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean
from deeplab.robust import attacks
from deeplab.robust.attacks.evaluation.measure import with_arguments
from deeplab.tasks.contract.task import Task
from deeplab.verbs.robustness.examined import Examined

IMAGE_RADII = (0.01, 0.03, 0.1, 0.3)
"""Radii of images, in parts of white."""

RADII = (0.03, 0.1, 0.3, 1.0)
"""Radii of other inputs, in their standard deviations."""

_PICTURES = 6
_STEPS = "Projected gradient ascent"


@dataclasses.dataclass(frozen=True)
class Attacked:
    """What is left of a metric under attack.

    Attributes:
      metric: Name of the metric.
      unit: Unit of the radii, in words.
      values: Metric by radius; 0 is without an attack.
      intervals: 95 % interval by radius, of classifiers.
      gates: Gates against masked gradients, of classifiers of images.
      pictures: The nearest mistakes: an example, what it became, both as images, and a title.
      warnings: What makes the figures doubtful, a sentence each, of AutoAttack.
      attack: Name of the attack.
    """

    metric: str
    unit: str
    values: Mapping[float, float]
    intervals: Mapping[float, tuple[float, float]]
    gates: tuple[attacks.Gate, ...] = ()
    pictures: tuple[tuple[np.ndarray, np.ndarray, str], ...] = ()
    warnings: tuple[str, ...] = ()
    attack: str = _STEPS

    @property
    def lead(self) -> str:
        """A sentence."""
        radius, value = list(self.values.items())[-1]
        show = (lambda x: f"{x:.1%}") if self.intervals else (lambda x: f"{x:.4g}")
        red = sum(not gate.holds for gate in self.gates)
        told = f"; {red} of {len(self.gates)} gates against masked gradients are violated" if red else ""
        told += f"; {len(self.warnings)} warnings of AutoAttack" if self.warnings else ""
        return f"{self.metric} {show(self.values[0.0])}, and {show(value)} at radius {radius:g} {self.unit}{told}"

    @property
    def block(self) -> Block:
        """A curve, the gates and the pictures."""
        radii = np.array(list(self.values))
        line = blocks.curve(
            {self.metric: np.array(list(self.values.values()))},
            f"radius, {'1 is white' if self.unit == 'of white' else self.unit}",
            {self.metric: radii},
            title=f"{self.metric} by radius of the attack",
            percent=bool(self.intervals),
        )
        left = "the share of examples for which it finds no mistake" if self.intervals else f"the {self.metric} left"
        note = f"{self.attack} moves every number of an input by the radius at most; shown is {left}."
        doubts = [blocks.text(warning, style="note") for warning in self.warnings]
        parts = (line, self._table(), *doubts, *self._gates(), *self._nearest())
        return blocks.section("Attacked", *parts, note=note)

    def _table(self) -> Block:
        show = (lambda x: f"{x:.1%}") if self.intervals else (lambda x: f"{x:.4g}")
        body = [
            [f"{radius:g}", show(value), " to ".join(show(end) for end in self.intervals.get(radius, ()))]
            for radius, value in self.values.items()
        ]
        return blocks.rows(["radius", self.metric, "95 % interval"], body, numeric=True)

    def _gates(self) -> list[Block]:
        if not self.gates:
            return []
        told = "holds", "VIOLATED: the figures above are no lower bound of what an attack can do"
        body = [[gate.name, told[not gate.holds], gate.told] for gate in self.gates]
        return [blocks.section("Gates against masked gradients", blocks.rows(["gate", "", "figures"], body))]

    def _nearest(self) -> list[Block]:
        if not self.pictures:
            return []
        shown = [
            blocks.card(title, blocks.columns(blocks.picture(before, "before"), blocks.picture(after, "after")))
            for before, after, title in self.pictures
        ]
        note = "Before and after, by DeepFool; a length of 1 (l2 norm) takes one pixel from black to white."
        return [blocks.section("The smallest changes that change a prediction", blocks.cards(shown), note=note)]


def attacked(
    what: Examined, radii: Sequence[float], steps: int, gated: bool = True, auto_attack: bool = False
) -> Attacked:
    """Attacks by projected gradient ascent in the maximum norm, or by AutoAttack, at each radius.

    Of a classifier, an example counts while the attack finds no mistake; of any other task its score is lowered, and
    its own metric measured.

    Args:
      what: What is tested.
      radii: Radii, in units of what is moved; those that fit it when empty.
      steps: Number of steps.
      gated: Whether the gates against masked gradients are measured, which takes some 15 times as long as a radius.
      auto_attack: Whether AutoAttack takes the place of the steps, which takes some 300 times as long.

    Raises:
      UserError: The task has no score to lower, the embedding of its tokens is called several times, or AutoAttack is
        asked for and the task is no classification of one label.
    """
    if "[" in what.seam.tap:
        name = what.seam.tap.partition("[")[0]
        raise UserError(f"the embedding {name!r} is called several times, and an attack moves one call of a module")
    radii = tuple(radii) or (IMAGE_RADII if what.moves_images else RADII)
    if auto_attack and not what.classifies:
        raise UserError("AutoAttack wants a classification of one label for each example; leave auto_attack out")
    if not what.classifies:
        return _lowered(what, radii, steps)
    found = _survivors(what, radii, steps, auto_attack)
    name = "AutoAttack" if auto_attack else _STEPS
    doubts = tuple(f"At radius {radius:g}: {told}" for radius, each in found.items() for told in _warnings(each))
    first = next(iter(found.values()))
    values = {0.0: first.clean} | {radius: each.robust for radius, each in found.items()}
    intervals = {0.0: blocks.wilson(round(first.clean * first.count), first.count)}
    intervals |= {radius: each.interval for radius, each in found.items()}
    if not what.moves_images:
        return Attacked("accuracy", what.unit_name, values, intervals, warnings=doubts, attack=name)
    middle = radii[len(radii) // 2]
    gates: tuple[attacks.Gate, ...] = ()
    if gated:
        figures = attacks.figures_of(what.apply, what.batches[:1], middle, what.key, steps=steps, seam=what.seam)
        gates = attacks.gates(figures, 1 / len(what.batches[0]["id"]))
    return Attacked("accuracy", what.unit_name, values, intervals, gates, _nearest(what), doubts, name)


def _survivors(what: Examined, radii: Sequence[float], steps: int, auto_attack: bool) -> Mapping[float, Any]:
    """How many examples are right, clean and attacked, by radius."""
    if auto_attack:
        evaluate = attacks.auto_attack(what.apply, seam=what.seam)
        return {radius: evaluate(what.batches, radius * what.unit, what.key) for radius in radii}
    return attacks.accuracy_by_radius(
        what.apply,
        what.batches,
        lambda radius: attacks.pgd(radius * what.unit, steps, seam=what.seam),
        radii,
        what.key,
        seam=what.seam,
    )


def _warnings(found: attacks.RobustAccuracy | attacks.AutoAttack) -> tuple[str, ...]:
    return found.warnings if isinstance(found, attacks.AutoAttack) else ()


def _lowered(what: Examined, radii: Sequence[float], steps: int) -> Attacked:
    """The task's own metric where its score is lowered; that score itself where the vectors of tokens are moved.

    A metric calls the model with the tokens of the batch, which no attack moves.
    """
    task = what.experiment.task
    if type(task).score is Task.score:
        raise UserError(f"{type(task).__name__} has no score that an attack could lower")
    name = "score" if what.seam.tap else what.experiment.monitor.name
    objective = attacks.lowered(task)

    def measured(apply: Any, batch: Any, radius: Any) -> Any:
        attack = attacks.pgd(radius * what.unit, steps, objective=objective, seam=what.seam)
        moved = attack(apply, batch, what.key)
        if what.seam.tap:
            return Mean.of(task.score(what.seam.outputs(apply, moved), batch), batch["weight"])
        found = task.metrics(apply, moved, what.key)
        return found[name if name in found else "loss"]

    run = with_arguments(what.apply, measured)
    parts = {radius: [run(batch, jnp.float32(radius)) for batch in what.batches] for radius in (0.0, *radii)}
    values = {radius: jax.device_get(functools.reduce(operator.add, each)).compute() for radius, each in parts.items()}
    return Attacked(name, what.unit_name, values, {})


def _nearest(what: Examined) -> tuple[tuple[np.ndarray, np.ndarray, str], ...]:
    """Mistakes nearest to rightly predicted images of the first batch."""
    batch, field = what.batches[0], what.seam.name
    attack = attacks.deepfool(seam=what.seam)

    def found(apply: Any, batch: Any) -> Any:
        moved = attack(apply, batch, what.key)
        before, after = (jnp.argmax(what.seam.outputs(apply, each), axis=-1) for each in (batch, moved))
        return moved[field], before, after

    moved, before, after = (np.asarray(x) for x in what.over(found, [batch]))
    image, label = np.asarray(batch[field]), np.asarray(batch["label"])
    size = np.sqrt(np.sum((moved - image) ** 2, axis=(1, 2, 3)))
    rows = np.flatnonzero((before == label) & (after != before))
    rows = rows[np.argsort(size[rows], kind="stable")][:_PICTURES]
    names = what.class_names or tuple(map(str, range(int(max(before.max(), after.max(), 0)) + 1)))
    return tuple(
        (image[i], moved[i], f"{names[before[i]]} becomes {names[after[i]]}: length {size[i]:.3g}") for i in rows
    )
