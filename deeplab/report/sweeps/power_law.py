"""Power laws of the loss as a function of size: fit, confidence band and prediction.

Source: Hestness et al. 2017, https://arxiv.org/abs/1712.00409; Kaplan et al. 2020, https://arxiv.org/abs/2001.08361;
  Rosenfeld et al. 2020, https://arxiv.org/abs/1909.12673.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

MIN_SIZES = 4
"""Least number of sizes: a law has three parameters."""


Start = tuple[float, float, float]  # floor, logarithm of the excess over it at the middle size, exponent


class PowerLaw(NamedTuple):
    """L(n) = floor + scale n^-exponent."""

    floor: float
    scale: float
    exponent: float

    def __call__(self, n: Float[np.ndarray, " N"] | float) -> Float[np.ndarray, " N"]:
        return self.floor + self.scale * np.asarray(n, np.float64) ** -self.exponent


def fit(n: Float[np.ndarray, " N"], loss: Float[np.ndarray, " N"]) -> PowerLaw:
    """Least squares of log L, with floor >= 0, scale > 0 and 0 <= exponent <= 2; the best of several starts.

    The logarithm gives a relative error the same weight at every size.

    Args:
      n: Sizes, four or more.
      loss: Loss at each size, above 0.

    Raises:
      ValueError: There are fewer sizes, or a loss is not finite and above 0.

    Example:
      >>> n = np.array([10.0, 100.0, 1000.0, 10_000.0])
      >>> [round(float(x), 3) for x in fit(n, 0.1 + 2 * n**-0.5)]
      [0.1, 2.0, 0.5]
    """
    if len(n) < MIN_SIZES or not np.all(np.isfinite(loss)) or np.min(loss) <= 0:
        raise ValueError(f"{len(n)} sizes with losses {loss}: expected {MIN_SIZES} or more, finite and above 0")
    least, usual = float(np.min(loss)), float(np.median(loss))
    starts = [(share * least, np.log(usual), b) for share in (0.1, 0.7) for b in (0.3, 0.8)]
    return min((_descend(n, loss, start) for start in starts), key=lambda found: found[0])[1]


def _middle(n: Float[np.ndarray, " N"]) -> float:
    """The size at which the scale is fitted: at n = 1 it is correlated with the exponent."""
    return float(np.exp(np.mean(np.log(n))))


def _descend(n: Float[np.ndarray, " N"], loss: Float[np.ndarray, " N"], start: Start) -> tuple[float, PowerLaw]:
    """Half the sum of squared residuals at a minimum, and its law."""
    from scipy.optimize import least_squares

    middle, target = _middle(n), np.log(loss)
    u = np.log(np.asarray(n, np.float64) / middle)

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.log(x[0] + np.exp(x[1] - x[2] * u)) - target

    def slopes(x: np.ndarray) -> np.ndarray:
        falling = np.exp(x[1] - x[2] * u)
        return np.stack([np.ones_like(u), falling, -u * falling], axis=1) / (x[0] + falling)[:, None]

    bounds = ([0, -np.inf, 0], [np.inf, np.inf, 2])
    jac: Any = slopes  # SciPy types it as the name of a finite difference
    found = least_squares(residuals, start, jac=jac, bounds=bounds, x_scale=(np.min(loss), 1, 0.1))
    floor, level, exponent = map(float, found.x)
    return float(found.cost), PowerLaw(floor, float(np.exp(level)) * middle**exponent, exponent)


def band(
    n: Float[np.ndarray, " N"],
    losses: Float[np.ndarray, "S N"],
    at: Float[np.ndarray, " P"],
    *,
    draws: int = 200,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """A 95 % bootstrap band of the law of the mean loss.

    For each size, S losses are drawn with replacement from those of its S seeds. The band covers the choice of the
    seeds, not the doubt whether the loss follows a power law. Each fit starts at the law of the mean loss.

    Args:
      n: Sizes.
      losses: Losses by seed and size.
      at: Sizes at which the band is returned.
      draws: Number of fits.
      seed: Seeds the draws.

    Returns:
      The lower and the upper edge, [P] each.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552.
    """
    rng, (S, N) = np.random.default_rng(seed), losses.shape
    drawn = [np.take_along_axis(losses, rng.integers(0, S, (S, N)), axis=0).mean(axis=0) for _ in range(draws)]
    law = fit(n, losses.mean(axis=0))
    start = law.floor, float(np.log(law(_middle(n)) - law.floor)), law.exponent
    curves = [_descend(n, mean, start)[1](at) for mean in drawn]
    low, high = np.quantile(curves, (0.025, 0.975), axis=0)
    return low, high
