"""Control of a risk beyond coverage: learn then test, conformal risk control; and selective prediction.

N calibration examples, L settings of what controls the risk, such as thresholds.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.conformal.split import LEVEL
from deeplab.robust.inputs import matrix_of


def hoeffding_bentkus(risk: Float[ndarray, " L"], size: int, alpha: float) -> Float[ndarray, " L"]:
    """P values of "the true risk is above alpha", for the mean risk of losses in [0, 1].

    Args:
      risk: Mean loss of the calibration examples at each setting.
      size: Number of calibration examples.
      alpha: Risk that is allowed.

    Source: Bates et al. 2021, https://arxiv.org/abs/2101.02703, section 3.1.

    Example:
      >>> hoeffding_bentkus(np.array([0.0, 0.1, 0.3]), 100, 0.2).round(5).tolist()
      [0.0, 0.01548, 1.0]
    """
    from scipy.stats import binom  # takes long to import

    risk = np.asarray(risk, np.float64)
    r = np.minimum(risk, alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(r > 0, r * np.log(r / alpha), 0.0) + (1 - r) * np.log((1 - r) / (1 - alpha))
    bentkus = math.e * binom.cdf(np.ceil(size * risk - 1e-9), size, alpha)
    return np.minimum(1.0, np.minimum(np.exp(-size * apart), bentkus))


def _losses(losses: ndarray) -> ndarray:
    losses = matrix_of(losses, "losses", "L")
    if not losses.size:
        raise UserError(f"losses have the shape {list(losses.shape)}, expected one example and one setting or more")
    return losses


Correction = Literal["bonferroni", "sequence"]


@ranges.checked(alpha=LEVEL, delta=LEVEL, test=ranges.OneOf(Correction))
def learn_then_test(
    losses: Float[ndarray, "N L"],
    alpha: float,
    delta: float = 0.1,
    test: Correction = "bonferroni",
) -> Bool[ndarray, " L"]:
    """The settings at which the risk is at most alpha: with probability 1 - delta, all of them are.

    Losses need not be monotone in the setting, unlike those of `conformal_risk`. Of the settings that pass, any may be
    chosen, after a look at the examples.

    Args:
      losses: Loss of each calibration example at each setting, in [0, 1].
      alpha: Risk that is allowed.
      delta: Probability of an error.
      test: Correction for many tests: "bonferroni"; or "sequence", which tests the settings in their order, the safest
        first, and stops at the first that fails.

    Raises:
      UserError: a loss is not in [0, 1], there are none, or they are not [N, L].

    Source: Angelopoulos et al. 2021, https://arxiv.org/abs/2110.01052.

    Example:
      >>> losses = np.zeros((200, 3))
      >>> losses[:20, 1], losses[:60, 2] = 1, 1
      >>> learn_then_test(losses, alpha=0.2).tolist()
      [True, True, False]
    """
    losses = _losses(losses)
    if not ((losses >= 0) & (losses <= 1)).all():
        raise UserError(f"losses are from {losses.min():g} to {losses.max():g}, expected [0, 1]; divide by the largest")
    p = hoeffding_bentkus(losses.mean(axis=0), len(losses), alpha)
    return p <= delta / len(p) if test == "bonferroni" else np.logical_and.accumulate(p <= delta)


@ranges.checked(alpha=ranges.POSITIVE, largest=ranges.POSITIVE)
def conformal_risk(losses: Float[ndarray, "N L"], alpha: float, largest: float = 1.0) -> int:
    """The number of the first setting whose expected loss on a new example is at most alpha.

    It is the first with (sum_i loss_i + largest) / (N + 1) <= alpha. With the loss "the label is not in the set" it is
    split conformal prediction.

    Args:
      losses: Loss of each calibration example at each setting, which no later setting makes larger.
      alpha: Expected loss that is allowed.
      largest: Largest loss there can be.

    Raises:
      UserError: a loss rises from a setting to the next, or is above the largest; there are too few examples; the
        losses are not [N, L]; or no setting is good enough.

    Source: Angelopoulos et al. 2022, https://arxiv.org/abs/2208.02814, theorem 1.

    Example:
      >>> conformal_risk(np.repeat([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], [8, 1], axis=0), alpha=0.2)
      1
    """
    losses = _losses(losses)
    if (np.diff(losses, axis=1) > 1e-12).any() or not (losses <= largest).all():
        raise UserError(
            f"a loss rises from a setting to the next, or is above {largest:g}; order the settings, or learn_then_test"
        )
    N = len(losses)
    if largest > alpha * (N + 1) * (1 + 1e-12):
        least = math.ceil(largest / alpha - 1e-9) - 1
        raise UserError(f"{N} calibration examples are too few for alpha={alpha:g}; give {least} or more")
    bound = (losses.sum(axis=0) + largest) / (N + 1)
    if not (good := bound <= alpha * (1 + 1e-12)).any():
        raise UserError(
            f"the risk is {bound.min():.3g} at best, above alpha={alpha:g}; add safer settings, or allow more"
        )
    return int(good.argmax())


class RiskCoverage(NamedTuple):
    """Selective prediction: of the n most confident examples, n = 1, ..., N.

    Attributes:
      coverage: Share n / N of the examples.
      risk: Their mean loss; of examples of equal confidence, what it is on average over their orders.
      confidence: Confidence of the last of them.
      best: Area of the best confidence, which orders the examples by their losses.

    Example:
      >>> curve = RiskCoverage(np.array([0.5, 1.0]), np.array([0.0, 0.5]), np.array([0.9, 0.6]), best=0.25)
      >>> curve.aurc, curve.excess
      (0.25, 0.0)
    """

    coverage: Float[ndarray, " N"]
    risk: Float[ndarray, " N"]
    confidence: Float[ndarray, " N"]
    best: float

    @property
    def aurc(self) -> float:
        """The area under the risk-coverage curve, the mean of the risks."""
        return float(self.risk.mean())

    @property
    def excess(self) -> float:
        """The area minus that of the best confidence (E-AURC)."""
        return self.aurc - self.best


def risk_coverage(confidence: Float[ndarray, " N"], loss: Float[ndarray, " N"]) -> RiskCoverage:
    """The risk of a model that abstains where it is least confident, at each coverage.

    Args:
      confidence: Confidence of each prediction.
      loss: Loss of each prediction, such as 1 for a mistake and 0 elsewhere.

    Raises:
      UserError: there are no examples, not a loss for each, or a number is NaN.

    Source: El-Yaniv and Wiener 2010, https://jmlr.org/papers/v11/el-yaniv10a.html; the area, Geifman, Uziel and
    El-Yaniv 2019, https://arxiv.org/abs/1805.08206.

    Example:
      >>> found = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 1, 1]))
      >>> found.risk.round(2).tolist(), round(found.aurc, 3), round(found.excess, 3)
      ([0.0, 0.0, 0.33, 0.5], 0.208, 0.0)
    """
    c, loss = np.asarray(confidence, np.float64), np.asarray(loss, np.float64)
    if c.shape != loss.shape or c.ndim != 1 or not len(c):
        raise UserError(f"confidence {list(c.shape)} and loss {list(loss.shape)}; expected [N] and [N], N of 1 or more")
    if np.isnan(c).any() or np.isnan(loss).any():
        raise UserError("a confidence or a loss is NaN; leave such predictions out, or give them the least confidence")
    order = np.argsort(-c, kind="stable")
    _, member, count = np.unique(-c[order], return_inverse=True, return_counts=True)
    even = (np.bincount(member, loss[order]) / count)[member]
    n = np.arange(1, len(c) + 1)
    best = float(np.mean(np.cumsum(np.sort(loss)) / n))
    return RiskCoverage(n / len(c), np.cumsum(even) / n, c[order], best)
