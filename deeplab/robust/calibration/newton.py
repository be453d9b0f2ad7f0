"""Newton's method for the convex losses of calibration, of a few parameters each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Derivatives = tuple[float, Float[ndarray, " D"], Float[ndarray, "D D"]]
"""Loss, gradient, Hessian."""


def minimized(derivatives: Callable[[ndarray], Derivatives], start: ndarray, steps: int = 100) -> ndarray:
    """The parameters that minimize a convex loss; after so many steps where it has no minimum.

    Each step solves H d = -g in the least-squares sense, since a direction may leave the loss as it is, and is halved
    until the loss falls.

    Args:
      derivatives: Loss, gradient and Hessian at some parameters.
      start: First parameters.
      steps: Largest number of steps.

    Example:
      >>> minimized(lambda x: (float(np.sum((x - 3) ** 2)), 2 * (x - 3), 2 * np.eye(1)), np.zeros(1))
      array([3.])
    """
    x, (loss, gradient, hessian) = start, derivatives(start)
    for _ in range(steps):
        direction = -np.linalg.lstsq(hessian, gradient, rcond=1e-14)[0]
        size, slope = 1.0, float(gradient @ direction)
        while (found := derivatives(x + size * direction))[0] > loss + 1e-4 * size * slope and size > 1e-10:
            size /= 2
        if found[0] > loss:
            break
        x, (loss, gradient, hessian) = x + size * direction, found
        if np.abs(gradient).max() < 1e-13:
            break
    return x
