"""Two-sample tests: whether two sets of features are of one law. Kernel (MMD) and classifier (C2ST), with their power.

N and M examples, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.calibration.newton import Derivatives, minimized


class Tested(NamedTuple):
    """A two-sample test.

    Attributes:
      statistic: Statistic, the larger the more different; see the test.
      p: Probability of at least this under one law; the test of level 5 % rejects at 0.05 or below.

    Example:
      >>> Tested(statistic=0.31, p=0.01).p <= 0.05
      True
    """

    statistic: float
    p: float


def _pair(x: ndarray, y: ndarray) -> tuple[ndarray, ndarray]:
    x, y = (np.asarray(z, np.float64).reshape(len(z), -1) for z in (x, y))
    if min(len(x), len(y)) < 2 or x.shape[1] != y.shape[1]:
        raise UserError(f"sets of {list(x.shape)} and {list(y.shape)}; expected [N, D] and [M, D], 2 or more of each")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("a feature is NaN or infinite; leave such examples out")
    return x, y


@ranges.checked(permutations=ranges.COUNT, bandwidths=ranges.POSITIVE)
def mmd(
    x: Float[ndarray, "N D"],
    y: Float[ndarray, "M D"],
    bandwidths: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
    permutations: int = 199,
    seed: int = 0,
) -> Tested:
    """The squared maximum mean discrepancy, unbiased, under a mean of Gaussian kernels; tested by permutations.

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j), with the kernels
    exp(-|a - b|^2 / (2 (b s)^2)) for the bandwidths b in units of the median distance s. Any difference of two laws is
    found by enough examples. Memory and time grow with (N + M)^2: take some 1,000 of larger sets.

    Args:
      x: Features of the one set.
      y: Features of the other.
      bandwidths: Widths of the kernels, in units of the median distance of all pairs.
      permutations: Number of random divisions of all examples; p is 1 / (permutations + 1) or more.
      seed: Seed of the permutations.

    Raises:
      UserError: a set has fewer than 2 examples, a feature is not finite, or the numbers of features differ.

    Source: Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> x, y = rng.normal(size=(2, 100, 3))
      >>> mmd(x, y).p > 0.05, mmd(x, y + 1.0).p
      (True, 0.005)
    """
    x, y = _pair(x, y)
    both = np.concatenate([x, y]) - x.mean(axis=0)
    norms = np.sum(both**2, axis=1)
    apart = np.maximum(norms[:, None] + norms[None] - 2 * both @ both.T, 0)
    scale = np.median(apart[np.triu_indices(len(both), 1)])
    scale = scale if scale > 0 else 1.0
    kernel = np.mean([np.exp(-apart / (2 * b**2 * scale)) for b in bandwidths], axis=0)
    np.fill_diagonal(kernel, 0)
    n, m = len(x), len(y)
    first = np.zeros((permutations + 1, n + m))
    first[0, :n] = 1
    order = np.argsort(np.random.default_rng(seed).random((permutations, n + m)), axis=1)
    np.put_along_axis(first[1:], order[:, :n], 1.0, axis=1)
    to_first, all_rows = first @ kernel, kernel.sum(axis=1)
    within_x = np.sum(to_first * first, axis=1)
    across = np.sum(to_first, axis=1) - within_x
    within_y = all_rows.sum() - within_x - 2 * across
    values = within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)
    return Tested(float(values[0]), float(np.mean(values >= values[0] - 1e-12)))


Fit = Callable[[Float[ndarray, "N D"], Float[ndarray, " N"]], Callable[[ndarray], ndarray]]
"""`(features, 1 where of the second set) -> (features -> log-odds)`."""


def logistic(penalty: float = 1e-2) -> Fit:
    """Makes a fit of logistic regression on standardized features, with a penalty on squared weights.

    Args:
      penalty: Factor of the summed squares of the weights, beside the mean loss.

    Example:
      >>> found = logistic()(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 0.0, 1.0, 1.0]))
      >>> (found(np.array([[0.5], [2.5]])) > 0).tolist()
      [False, True]
    """

    def fit(features: ndarray, second: ndarray) -> Callable[[ndarray], ndarray]:
        mean, std = features.mean(axis=0), features.std(axis=0)
        std = np.where(std > 0, std, 1)

        def design(x: ndarray) -> ndarray:
            return np.concatenate([(x - mean) / std, np.ones((len(x), 1))], axis=1)

        x = design(features)
        ridge = penalty * np.append(np.ones(x.shape[1] - 1), 0)

        def derivatives(w: ndarray) -> Derivatives:
            u = x @ w
            p = np.exp(-np.logaddexp(0, -u))
            loss = float(np.mean(np.logaddexp(0, u) - second * u) + ridge @ w**2)
            hessian = (x * (p * (1 - p))[:, None]).T @ x / len(x) + 2 * np.diag(ridge)
            return loss, x.T @ (p - second) / len(x) + 2 * ridge * w, hessian

        w = minimized(derivatives, np.zeros(x.shape[1]), steps=20)
        return lambda new: design(new) @ w

    return fit


@ranges.checked(permutations=ranges.COUNT)
def c2st(
    x: Float[ndarray, "N D"],
    y: Float[ndarray, "M D"],
    fit: Fit | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> Tested:
    """A classifier two-sample test: whether a classifier that has learned to tell half of the sets apart can the rest.

    The statistic is the accuracy on the other half, of which each set counts half; p is of the difference of the mean
    log-odds, by permutations of the other half, which is more powerful than the accuracy.

    Args:
      x: Features of the one set.
      y: Features of the other.
      fit: Learner of the classifier; `logistic()` when None, which sees shifts of means only.
      permutations: Number of random divisions of the other half.
      seed: Seed of the halves and the permutations.

    Raises:
      UserError: a set has fewer than 4 examples, a feature is not finite, or the numbers of features differ.

    Source: Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545; of log-odds, Cheng and Cloninger 2022,
    https://arxiv.org/abs/1909.11298.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> x, y = rng.normal(size=(2, 100, 3))
      >>> c2st(x, y).p > 0.05, c2st(x, y + 1.0).p
      (True, 0.005)
    """
    x, y = _pair(x, y)
    if min(len(x), len(y)) < 4:
        raise UserError(f"sets of {len(x)} and {len(y)} examples; expected 4 or more, of which half train")
    rng = np.random.default_rng(seed)
    x, y = rng.permutation(x), rng.permutation(y)
    n, m = len(x) // 2, len(y) // 2
    second = np.append(np.zeros(n), np.ones(m))
    odds = (fit or logistic())(np.concatenate([x[:n], y[:m]]), second)
    of_x, of_y = odds(x[n:]), odds(y[m:])
    both = np.append(of_x, of_y)
    order = np.argsort(rng.random((permutations, len(both))), axis=1)
    drawn = both[np.concatenate([np.arange(len(both))[None], order])]
    values = drawn[:, len(of_x) :].mean(axis=1) - drawn[:, : len(of_x)].mean(axis=1)
    accuracy = 0.5 + (np.mean(np.sign(of_y)) - np.mean(np.sign(of_x))) / 4  # odds of 1 are right half of the times
    return Tested(float(accuracy), float(np.mean(values >= values[0] - 1e-12)))


@ranges.checked(size=ranges.COUNT, draws=ranges.COUNT)
def power(
    test: Callable[..., Tested],
    x: Float[ndarray, "N D"],
    y: Float[ndarray, "M D"],
    size: int,
    draws: int = 100,
    level: float = 0.05,
    seed: int = 0,
) -> float:
    """The share of draws of `size` examples from each set at which a test rejects: how many are needed to see a drift.

    Args:
      test: Test `(x, y, seed=...)`, such as `mmd`.
      x: Features of the one set, much larger than `size`.
      y: Features of the other.
      size: Number of examples of each that a test sees.
      draws: Number of tests.
      level: Level of the test.
      seed: Seed of the draws.

    Raises:
      UserError: a set has fewer than `size` examples.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> x, y = rng.normal(size=(500, 2)), rng.normal(0.6, 1.0, (500, 2))
      >>> power(mmd, x, y, 10, draws=30) < 0.6 < power(mmd, x, y, 60, draws=30)
      True
    """
    if min(len(x), len(y)) < size:
        raise UserError(f"draws of {size} from sets of {len(x)} and {len(y)} examples; give size={min(len(x), len(y))}")
    rng = np.random.default_rng(seed)
    found = [test(rng.permutation(x)[:size], rng.permutation(y)[:size], seed=int(i)) for i in range(draws)]
    return float(np.mean([each.p <= level for each in found]))
