"""Maps from the probability of a class to a calibrated one: isotonic, beta, histogram; each class against the rest.

N examples, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.calibration.newton import Derivatives, minimized
from deeplab.robust.inputs import bins_of, labels_of, probabilities_of, truths_of

Map = Callable[[Float[ndarray, " N"]], Float[ndarray, " N"]]
"""Probability of a class -> calibrated probability."""


def _both(probability: ndarray, positive: ndarray) -> tuple[ndarray, ndarray]:
    p, y = np.asarray(probability, np.float64), np.asarray(positive)
    if p.shape != y.shape or p.ndim != 1 or not len(p):
        raise UserError(
            f"probability and positive have the shapes {list(p.shape)} and {list(y.shape)}, expected [N] and [N] of "
            "one class; for several classes call one_vs_rest"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise UserError(
            f"a probability is {p[~((p >= 0) & (p <= 1))][0]:g}, expected 0 to 1; give softmax(logits)[:, k]"
        )
    return p, truths_of(y, "positive", len(p)).astype(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Isotonic:
    """A nondecreasing piecewise linear map through (x, y), constant outside.

    Attributes:
      x: Probabilities, ascending.
      y: Calibrated ones.

    Example:
      >>> Isotonic(np.array([0.2, 0.6]), np.array([0.1, 0.5]))(np.array([0.0, 0.4, 0.9])).round(6).tolist()
      [0.1, 0.3, 0.5]
    """

    x: Float[ndarray, " M"]
    y: Float[ndarray, " M"]

    def __call__(self, probability: Float[ndarray, " N"]) -> Float[ndarray, " N"]:
        return np.interp(probability, self.x, self.y)


def isotonic(probability: Float[ndarray, " N"], positive: Bool[ndarray, " N"]) -> Isotonic:
    """The nondecreasing map with the least squared error (Zadrozny and Elkan 2002).

    It needs some hundred examples, and makes ties.

    Raises:
      UserError: an argument is not [N], a probability is not in [0, 1], or a positive is neither 0 nor 1.

    Source: https://doi.org/10.1145/775047.775151.

    Example:
      >>> isotonic(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, False, True])).y.tolist()
      [0.0, 0.5, 0.5, 1.0]
    """
    from scipy.optimize import isotonic_regression  # takes long to import

    p, y = _both(probability, positive)
    x, member, count = np.unique(p, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(member, y) / count, weights=count)
    return Isotonic(x, fitted.x)


@dataclasses.dataclass(frozen=True)
class Beta:
    """The map p -> 1 / (1 + 1 / (e^c p^a / (1 - p)^b)); a = b = 1 and c = 0 change nothing.

    Attributes:
      a: Exponent of p, 0 or more.
      b: Exponent of 1 - p, 0 or more.
      c: Logarithm of the factor.

    Example:
      >>> Beta(1.0, 1.0, 0.0)(np.array([0.2, 0.7])).round(6).tolist()
      [0.2, 0.7]
    """

    a: float
    b: float
    c: float

    def __call__(self, probability: Float[ndarray, " N"]) -> Float[ndarray, " N"]:
        u = _logs(probability) @ np.array([self.a, self.b]) + self.c
        with np.errstate(invalid="ignore"):  # NaN stays NaN
            return np.exp(-np.logaddexp(0, -u))


def _logs(p: ndarray) -> ndarray:
    p = np.clip(np.asarray(p, np.float64), 1e-12, 1 - 1e-12)
    return np.stack([np.log(p), -np.log1p(-p)], axis=1)


def beta(probability: Float[ndarray, " N"], positive: Bool[ndarray, " N"]) -> Beta:
    """The beta map of maximal likelihood: logistic regression on log p and -log(1 - p), neither weight below 0.

    It holds the identity and the sigmoids of Platt scaling of log-odds, and suits few examples.

    Raises:
      UserError: an argument is not [N], a probability is not in [0, 1], or a positive is neither 0 nor 1.

    Source: Kull, Silva Filho and Flach 2017, https://proceedings.mlr.press/v54/kull17a.html.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> p = rng.random(20_000)
      >>> found = beta(p, rng.random(20_000) < p**2 / (p**2 + (1 - p) ** 2))
      >>> bool(abs(found(np.array([0.3])) - 0.09 / 0.58).max() < 0.01)
      True
    """
    p, y = _both(probability, positive)
    x = np.concatenate([_logs(p), np.ones((len(p), 1))], axis=1)
    kept = [0, 1, 2]
    while True:
        part = x[:, kept]

        def derivatives(theta: ndarray, part: ndarray = part) -> Derivatives:
            u = part @ theta
            q = np.exp(-np.logaddexp(0, -u))
            loss = float(np.mean(np.logaddexp(0, u) - y * u))
            return loss, part.T @ (q - y) / len(y), (part * (q * (1 - q))[:, None]).T @ part / len(y)

        theta = minimized(derivatives, np.zeros(len(kept)))
        negative = [k for k, value in zip(kept, theta, strict=True) if k < 2 and value < 0]
        if not negative:
            found = dict(zip(kept, map(float, theta), strict=True))
            return Beta(found.get(0, 0.0), found.get(1, 0.0), found[2])
        kept.remove(negative[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """The map from the bins (m / M, (m + 1) / M] to a probability of each.

    Attributes:
      y: Calibrated probability of each bin.

    Example:
      >>> Histogram(np.array([0.1, 0.8]))(np.array([0.3, 0.5, 0.9])).tolist()
      [0.1, 0.1, 0.8]
    """

    y: Float[ndarray, " M"]

    def __call__(self, probability: Float[ndarray, " N"]) -> Float[ndarray, " N"]:
        p = np.asarray(probability, np.float64)
        return np.where(np.isnan(p), np.nan, self.y[bins_of(np.nan_to_num(p), len(self.y))])


@ranges.checked(num_bins=ranges.COUNT)
def histogram(probability: Float[ndarray, " N"], positive: Bool[ndarray, " N"], num_bins: int = 10) -> Histogram:
    """The share of positives in each bin of equal width; the middle of a bin without examples.

    Raises:
      UserError: an argument is not [N], a probability is not in [0, 1], or a positive is neither 0 nor 1.

    Source: Zadrozny and Elkan 2001, https://dl.acm.org/doi/10.5555/645530.655658.

    Example:
      >>> histogram(np.array([0.1, 0.2, 0.3]), np.array([False, True, True]), num_bins=2).y.round(2).tolist()
      [0.67, 0.75]
    """
    p, y = _both(probability, positive)
    member = bins_of(p, num_bins)
    count = np.bincount(member, minlength=num_bins)
    share = np.bincount(member, y, num_bins) / np.maximum(count, 1)
    return Histogram(np.where(count > 0, share, (np.arange(num_bins) + 0.5) / num_bins))


@dataclasses.dataclass(frozen=True)
class OneVsRest:
    """A map for each class, after which the rows are divided by their sums; a row of zeros becomes uniform.

    A row with a NaN becomes NaN.

    Attributes:
      maps: Map of each class.

    Example:
      >>> same = Isotonic(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
      >>> OneVsRest((same, same))(np.array([[0.3, 0.7]])).round(6).tolist()
      [[0.3, 0.7]]
    """

    maps: tuple[Map, ...]

    def __call__(self, probabilities: Float[ndarray, "N K"]) -> Float[ndarray, "N K"]:
        made = np.stack([one(p) for one, p in zip(self.maps, np.asarray(probabilities).T, strict=True)], axis=1)
        total = made.sum(axis=1, keepdims=True)
        return np.where(total == 0, 1 / len(self.maps), made / np.where(total == 0, 1, total))


def one_vs_rest(
    fit: Callable[[ndarray, ndarray], Map], probabilities: Float[ndarray, "N K"], label: Int[ndarray, " N"]
) -> OneVsRest:
    """Calibrates each class against the rest.

    Args:
      fit: Function `(probability [N], positive [N]) -> map`, such as `isotonic`, `beta` or `histogram`.
      probabilities: Probabilities of a held-out split.
      label: Labels of the split.

    Raises:
      UserError: a row of the probabilities does not sum to one, or a label is no class.

    Source: Zadrozny and Elkan 2002, https://doi.org/10.1145/775047.775151.

    Example:
      >>> p = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9]])
      >>> one_vs_rest(isotonic, p, np.array([0, 1, 0, 1]))(p).tolist()
      [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    p = probabilities_of(probabilities)
    y = labels_of(label, p.shape[1], len(p))
    return OneVsRest(tuple(fit(p[:, k], y == k) for k in range(p.shape[1])))
