"""`robustness`: one page on how far the predictions of a run can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.core import ranges
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError, nearest
from deeplab.core.printable import Printable
from deeplab.explain.view.show import Shown
from deeplab.report.document import document, save
from deeplab.report.render import Site, render
from deeplab.report.text import join, note, tag
from deeplab.robust.conformal.split import LEVEL
from deeplab.verbs.load import Checkpoint, opened
from deeplab.verbs.robustness.attacked import attacked
from deeplab.verbs.robustness.certified import certified
from deeplab.verbs.robustness.corrupted import corrupted
from deeplab.verbs.robustness.examined import examined
from deeplab.verbs.robustness.reliable import reliable
from deeplab.verbs.robustness.unfamiliar import unfamiliar
from deeplab.verbs.run import Run

PARTS = ("attacked", "corrupted", "certified", "reliable", "unfamiliar")
"""Parts of the page, in their order."""


@dataclasses.dataclass(frozen=True)
class Robustness(Printable):
    """How far the predictions of a run can be trusted.

    Attributes:
      parts: Record of each part by its name, of `PARTS`; each has a `block`.
      left_out: Reason by name, of those that this run has not.
    """

    parts: Mapping[str, Any]
    left_out: Mapping[str, str]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What is shown, as blocks of `deeplab.core.blocks`."""
        return tuple(part.block for part in self.parts.values())

    def __rich__(self) -> Any:
        from rich.text import Text

        told = [f"{name}: {part.lead}" for name, part in self.parts.items()]
        return Text("\n".join([*told, *(f"{name} is left out: {why}" for name, why in self.left_out.items())]))

    def _repr_html_(self) -> str:
        return Shown(self.blocks)._repr_html_()


@ranges.checked(
    examples=ranges.COUNT,
    radii=ranges.NATURAL,
    steps=ranges.COUNT,
    severities=ranges.Range(at_least=1, at_most=5, whole=True),
    noise=ranges.POSITIVE,
    draws=ranges.COUNT,
    alpha=LEVEL,
)
def robustness(
    run: Run | str | Path,
    parts: Sequence[str] = PARTS,
    *,
    examples: int = 256,
    radii: Sequence[float] = (),
    steps: int = 20,
    auto_attack: bool = False,
    severities: Sequence[int] = (1, 3, 5),
    noise: float = 0.25,
    draws: int = 200,
    alpha: float = 0.1,
    split: str | None = None,
    checkpoint: Checkpoint = "last",
) -> Robustness:
    """Attacks a run, corrupts what it reads, certifies, calibrates, and shows it what it has never seen.

    A part that the run cannot have, such as conformal sets of a regression, is left out with the reason.

    Args:
      run: Run, or its directory.
      parts: Names of the parts, of `PARTS`.
      examples: Number of examples, spread over the split.
      radii: Radii of the attacks in the maximum norm: parts of white for images, and else standard deviations.
      steps: Number of steps of an attack.
      auto_attack: Whether AutoAttack takes the place of these steps, of classifiers.
      severities: Severities of the corruptions, of 1 to 5.
      noise: Standard deviation of the noise of certificates by smoothing, in the same unit.
      draws: Number of draws of that noise for each example.
      alpha: Share of misses that conformal sets allow.
      split: Name of the split; the one that training evaluates on when None.
      checkpoint: Name of the checkpoint, if a directory is given.

    Raises:
      UserError: A part is unknown, a number is out of its range, or the run has none of the parts.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> found = robustness(dl.fit(experiment, smoke=True), ["reliable"], alpha=0.3)
      >>> found.parts["reliable"].sizes
      (6, 6)
    """
    run = opened(run, checkpoint)
    if unknown := [name for name in parts if name not in PARTS]:
        raise UserError(f"the part {unknown[0]!r} is unknown; {nearest(unknown[0], PARTS)}")
    what = examined(run, split, examples)
    if radii:
        what.seam.check(max(radii) * what.unit)  # under the trace of a radius nothing is looked at
    makers: dict[str, Callable[[], Any]] = {
        "attacked": lambda: attacked(what, radii, steps, auto_attack=auto_attack),
        "corrupted": lambda: corrupted(what, severities, run.recipe.data_dir),
        "certified": lambda: certified(what, noise, draws),
        "reliable": lambda: reliable(what, alpha),
        "unfamiliar": lambda: unfamiliar(what, run.recipe.data_dir),
    }
    made, left_out = {}, {}
    for name in parts:
        try:
            made[name] = makers[name]()
        except UserError as error:
            left_out[name] = str(error)
    if not made:
        raise UserError(f"nothing can be tested of this run: {'; '.join(left_out.values())}")
    return Robustness(made, left_out)


def page(found: Robustness, name: str, path: Path) -> Path:
    """Writes the page of robustness.

    Args:
      found: What was found.
      name: Name of the experiment.
      path: Path of the page.
    """
    drawn = [render(block, Site(f"robust-{i}")) for i, block in enumerate(found.blocks)]
    left_out = [note(f"{part} is left out: {why}") for part, why in found.left_out.items()]
    body = join(tag("p", name, class_="eyebrow"), tag("h1", "Robustness"), *left_out, *drawn)
    return save(path, document(f"{name} tested", body))
