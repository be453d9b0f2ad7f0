"""What sets and intervals cover, by group.

M new examples, G groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from deeplab.core.blocks import wilson
from deeplab.robust.inputs import groups_of, numbers_of, truths_of


class Coverage(NamedTuple):
    """What sets or intervals cover, by group; the first row is of all examples.

    Attributes:
      group: Names of the groups, "all" first.
      count: Number of examples.
      coverage: Share of examples that are covered.
      low: Lower end of the 95 % interval of that share (Wilson's), of independent examples.
      high: Its upper end.
      size: Mean number of classes, or width.

    Example:
      >>> found = Coverage(("all", "a"), np.array([90.0, 40.0]), np.array([0.9, 0.7]), *np.zeros((3, 2)))
      >>> found.group[int(found.coverage.argmin())]
      'a'
    """

    group: tuple[str, ...]
    count: Float[ndarray, " G"]
    coverage: Float[ndarray, " G"]
    low: Float[ndarray, " G"]
    high: Float[ndarray, " G"]
    size: Float[ndarray, " G"]


def coverage_by_group(
    covered: Bool[ndarray, " M"], size: Float[ndarray, " M"], group: Shaped[ndarray, " M"] | None = None
) -> Coverage:
    """What sets or intervals cover, of all examples and of each group.

    Args:
      covered: Whether the true label is in the set, or the target in the interval.
      size: Number of classes in the set, or width of the interval.
      group: Group of each example.

    Raises:
      UserError: `covered` holds anything but true and false, or there is not a size or a group for each example.

    Example:
      >>> found = coverage_by_group(np.array([True, True, False]), np.array([1, 2, 1]), np.array(["a", "b", "b"]))
      >>> found.group, found.coverage.round(2).tolist()
      (('all', 'a', 'b'), [0.67, 1.0, 0.5])
    """
    (size,) = numbers_of(size=size)
    covered = truths_of(covered, "covered", len(size))
    group = np.zeros(0) if group is None else groups_of(group, len(size))
    groups = list(np.unique(group))
    rows = [np.ones(len(covered), bool), *[group == g for g in groups]]
    count = np.array([row.sum() for row in rows])
    share = np.array([covered[row].mean() if row.any() else np.nan for row in rows])
    low, high = np.array(
        [wilson(covered[row].sum(), n) if n else (np.nan, np.nan) for row, n in zip(rows, count, strict=True)]
    ).T
    sizes = np.array([np.mean(size[row]) if row.any() else np.nan for row in rows])
    return Coverage(("all", *map(str, groups)), count, share, low, high, sizes)
