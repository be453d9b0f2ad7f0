"""Intrinsic dimension: of the manifold on which features lie, however many numbers describe them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.representation.knn import neighbors, rows_of


@ranges.checked(fraction=ranges.Range(above=0, at_most=1))
def two_nn(x: Float[ndarray, "N ..."], fraction: float = 0.9) -> float:
    """The dimension d by the ratios mu of the distances to the second and the first neighbor, P(mu > m) = m^-d.

    d is the slope, through 0, of -log(1 - F(mu)) over log mu, with the share F of ratios up to mu; the largest ratios
    are left out. It assumes a density that hardly changes from a point to its second neighbor: with few points it is
    too low in high dimensions. Of copies one is kept. Points on a grid have no such density.

    Args:
      x: Features.
      fraction: Share of the ratios that are used, the smallest.

    Raises:
      UserError: There are fewer than ten points that differ, or both neighbors of each are at one distance.

    Example:
      >>> square = np.random.default_rng(0).uniform(size=(2000, 2))
      >>> 1.9 < two_nn(square @ np.ones((2, 2)) + square) < 2.1
      True

    Source: Facco et al. 2017, https://doi.org/10.1038/s41598-017-11873-y.
    """
    points = np.unique(rows_of(x), axis=0)
    if len(points) < 10:
        raise UserError(f"{len(points)} of {len(x)} points differ from one another; expected 10 or more")
    first, second = neighbors(points, k=2).distances.T
    logs = np.sort(np.log(second / first))
    used = max(1, int(fraction * len(logs)))
    if logs[used - 1] < 1e-9:
        raise UserError(
            f"{np.sum(logs < 1e-9)} of {len(points)} points have two neighbors at the same distance, as on a grid; "
            "give points of a continuous law, such as features of a network"
        )
    heights = -np.log1p(-np.arange(1, len(logs) + 1) / (len(logs) + 1))
    logs, heights = logs[:used], heights[:used]
    return float(logs @ heights / (logs @ logs))
