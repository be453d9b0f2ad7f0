"""What a smoothed classifier says of a data set, and the certified accuracy by radius."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.certify.binomial import interval

ABSTAINED = -1


@dataclasses.dataclass(frozen=True)
class Smoothed:
    """What a smoothed classifier says of N examples.

    Attributes:
      id: Numbers of the examples, [N].
      label: Their labels, [N]; -1 where the batch has none.
      prediction: Classes, [N]; -1 where it abstains.
      radius: Radii (l2) within which the class is certain at level 1 - alpha, [N]; 0 where it abstains.
      probability: Lower bound of the probability of the class under noise, [N].

    Example:
      >>> said = Smoothed(np.arange(2), np.array([3, 3]), np.array([3, -1]), np.array([0.4, 0.0]), np.array([0.9, 0.5]))
      >>> float(((said.prediction == said.label) & (said.radius >= 0.25)).mean())
      0.5
    """

    id: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    radius: np.ndarray
    probability: np.ndarray


@dataclasses.dataclass(frozen=True)
class Curve:
    """The certified accuracy by radius: the share of examples that are right, and certain so far.

    Attributes:
      radii: Radii (l2), [R].
      accuracy: Shares, [R].
      low: Least shares that are likely at 95 % confidence, [R].
      high: Greatest likely shares, [R].
      count: Number of examples.
      abstained: Share of examples of which nothing is said.

    Example:
      >>> radii, accuracy = np.array([0.0, 0.5]), np.array([0.8, 0.6])
      >>> curve = Curve(radii, accuracy, low=accuracy - 0.1, high=accuracy + 0.1, count=50, abstained=0.1)
      >>> curve.accuracy[curve.radii == 0.5].item()
      0.6
    """

    radii: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: int
    abstained: float

    def __str__(self) -> str:
        told = ", ".join(f"{100 * a:.1f} % at {r:g}" for r, a in zip(self.radii, self.accuracy, strict=True))
        return f"certified accuracy {told} (l2); {100 * self.abstained:.1f} % abstained, {self.count:,} examples"


def certified_curve(found: Smoothed, radii: Sequence[float]) -> Curve:
    """The certified accuracy by radius.

    Args:
      found: What the smoothed classifier says of labeled examples.
      radii: Radii (l2), 0 or more, in units of the input.

    Raises:
      UserError: A radius is negative, or there are no labels.

    Example:
      >>> said = Smoothed(np.arange(3), np.array([0, 1, 1]), np.array([0, 1, 0]), np.array([0.5, 0.1, 0.9]), np.ones(3))
      >>> certified_curve(said, [0.0, 0.25]).accuracy.round(2).tolist()
      [0.67, 0.33]
    """
    ranges.NATURAL.check("radii", list(radii), "certified_curve")
    if not len(found.id) or np.any(found.label < 0):
        raise UserError("there is no accuracy without labels; smooth batches with the field 'label', one or more")
    right = (found.prediction == found.label)[None] & (found.radius[None] >= np.asarray(radii)[:, None])
    low, high = interval(right.sum(axis=1), len(found.id))
    abstained = float(np.mean(found.prediction == ABSTAINED))
    return Curve(np.asarray(radii, float), right.mean(axis=1), low, high, len(found.id), abstained)


def record_of(
    batch: Any, chosen: np.ndarray, certain: np.ndarray, radius: np.ndarray, probability: np.ndarray
) -> Smoothed:
    """What is said of the examples of a batch whose weight is not 0; nothing where it is not certain."""
    label = np.asarray(batch["label"]) if "label" in batch else np.full(len(chosen), -1)
    if label.shape != (len(chosen),):
        raise UserError(
            f"the labels have the shape {list(label.shape)}, expected [{len(chosen)}]: the number of a class"
        )
    kept = np.asarray(batch["weight"]) != 0
    parts = (np.asarray(batch["id"]), label, np.where(certain, chosen, ABSTAINED), radius, probability)
    return Smoothed(*(part[kept] for part in parts))


def joined(found: Sequence[Smoothed]) -> Smoothed:
    """What is said of all batches.

    Raises:
      UserError: There is none.
    """
    if not found:
        raise UserError("there is no example to smooth; give one batch or more")
    names = [field.name for field in dataclasses.fields(Smoothed)]
    return Smoothed(*(np.concatenate([getattr(part, name) for part in found]) for name in names))
