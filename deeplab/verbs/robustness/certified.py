"""How far predictions are certain: the classifier smoothed by noise, with its certified radii."""

from __future__ import annotations

import dataclasses

import numpy as np

from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
from deeplab.robust import certify
from deeplab.verbs.robustness.examined import Examined

_POINTS = 21


@dataclasses.dataclass(frozen=True)
class CertifiedRun:
    """The certified accuracy by radius.

    Attributes:
      noise: Standard deviation of the noise, in its unit.
      unit: That unit, in words.
      draws: Number of draws for each example.
      curve: Certified accuracy by radius (l2), in the unit of the inputs.
    """

    noise: float
    unit: str
    draws: int
    curve: certify.Curve

    @property
    def lead(self) -> str:
        """A sentence."""
        at = int(np.argmin(np.abs(self.curve.radii - self.noise)))
        return (
            f"under noise of {self.noise:g} {self.unit} {self.curve.accuracy[0]:.1%} are right, and "
            f"{self.curve.accuracy[at]:.1%} for certain within an l2 radius of {self.curve.radii[at]:.3g}"
        )

    @property
    def block(self) -> Block:
        """The curve with its interval."""
        lines = {"certified": self.curve.accuracy, "95 %, low": self.curve.low, "95 %, high": self.curve.high}
        note = (
            f"Randomized smoothing by {self.draws} draws of noise of {self.noise:g} {self.unit}; "
            f"{self.curve.abstained:.1%} abstained. A model that was not trained under noise loses by it."
        )
        drawn = blocks.curve(
            lines,
            "radius (l2 norm)",
            dict.fromkeys(lines, self.curve.radii),
            title="Certified accuracy by radius",
            percent=True,
            reference=("95 %, low", "95 %, high"),
        )
        return blocks.section("Certified", drawn, note=note)


def certified(what: Examined, noise: float, draws: int) -> CertifiedRun:
    """The classifier smoothed by noise: its accuracy, and up to which radius it is certain.

    Args:
      what: What is tested.
      noise: Standard deviation of the noise, in units of what is moved.
      draws: Number of draws for each example.

    Raises:
      UserError: The model is no classifier of real numbers.
    """
    if not what.classifies:
        raise UserError("the model gives no probability of one class for each example")
    fields = what.experiment.task.fields
    if what.seam.tap or what.seam.name != fields[0]:
        raise UserError("noise is of the first input of a model, which here is not of real numbers")
    found = certify.smoothed(
        what.apply, what.batches, what.key, deviation=noise * what.unit, draws=draws, fields=fields
    )
    most = max(float(found.radius.max()), noise * what.unit)
    return CertifiedRun(
        noise, what.unit_name, draws, certify.certified_curve(found, np.linspace(0, most, _POINTS).tolist())
    )
