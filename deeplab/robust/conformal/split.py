"""Split conformal prediction: one threshold on scores, or one for each group, from a calibration set.

A score tells how badly a label fits an example. With n exchangeable calibration scores and the threshold at the
ceil((n + 1) (1 - alpha))-th smallest, a new example's true label scores at most the threshold with probability
1 - alpha or more, whatever the model and the law of the data (Vovk, Gammerman and Shafer 2005).

N calibration examples, M new ones, G groups, K classes.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError, nearest
from deeplab.robust.resampling import LEVEL

Few = Literal["error", "everything"]


def rank_of(size: int, alpha: float, whose: str = "") -> int:
    """ceil((n + 1) (1 - alpha)), the rank of the threshold among the scores of a calibration set.

    Args:
      size: Number n of calibration examples.
      alpha: Largest rate of misses.
      whose: What the set belongs to, for the message.

    Raises:
      UserError: the set is too small for the level; the smallest that is not is named.

    Example:
      >>> rank_of(19, 0.1)
      18
      >>> rank_of(5, 0.1)
      Traceback (most recent call last):
      deeplab.core.errors.UserError: 5 calibration examples are too few for alpha=0.1; give 9 or more
    """
    if size < (least := smallest(alpha)):
        raise UserError(f"{size} calibration examples{whose} are too few for alpha={alpha:g}; give {least} or more")
    return math.ceil((size + 1) * (1 - alpha) - 1e-9)  # 1 - 0.1 is not quite 0.9


def smallest(alpha: float) -> int:
    """The smallest number of calibration examples for a level.

    Example:
      >>> smallest(0.1), smallest(0.01)
      (9, 99)
    """
    return math.ceil((1 - alpha) / alpha - 1e-9)


@ranges.checked(alpha=LEVEL, few=ranges.OneOf(Few))
def threshold(scores: Float[ndarray, " N"], alpha: float, few: Few = "error") -> float:
    """The threshold of split conformal prediction.

    Args:
      scores: Scores of the calibration examples' true labels, the larger the worse.
      alpha: Largest rate of misses.
      few: What is made of a set that is too small for the level: an error, or the threshold infinity, under which all
        labels pass.

    Raises:
      UserError: there are too few scores, one is NaN, or they are not [N], the true labels' own.

    Source: Papadopoulos et al. 2002, https://doi.org/10.1007/3-540-36755-1_29; Lei et al. 2018,
    https://arxiv.org/abs/1604.04173.

    Example:
      >>> threshold(np.arange(19.0), alpha=0.1)
      17.0
    """
    return _threshold(scores, alpha, "", few)


def _checked(scores: Float[ndarray, " N"], whose: str = "") -> Float[ndarray, " N"]:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1:
        raise UserError(f"calibration scores have the shape {list(scores.shape)}, expected [N]; give true_scores(...)")
    if bad := int(np.isnan(scores).sum()):
        raise UserError(f"{bad} of {len(scores)} calibration scores{whose} are NaN; leave them out")
    return scores


def _threshold(scores: ndarray, alpha: float, whose: str, few: Few) -> float:
    scores = _checked(scores, whose)
    if few == "everything" and len(scores) < smallest(alpha):
        return math.inf
    rank = rank_of(len(scores), alpha, whose)
    return float(np.partition(scores, rank - 1)[rank - 1])


class Thresholds(NamedTuple):
    """A threshold for each group.

    Attributes:
      groups: Groups, ascending.
      values: Threshold of each.
      few: What is made of a group without calibration examples: an error, or the threshold infinity.

    Example:
      >>> Thresholds(np.array(["a", "b"]), np.array([0.8, 0.9])).of(np.array(["b", "a"])).tolist()
      [0.9, 0.8]
    """

    groups: Shaped[ndarray, " G"]
    values: Float[ndarray, " G"]
    few: Few = "error"

    def of(self, group: Shaped[ndarray, " M"]) -> Float[ndarray, " M"]:
        """The thresholds of examples' groups.

        Raises:
          UserError: a group has no calibration examples, unless `few` is "everything".
        """
        group = np.asarray(group)
        known = np.isin(group, self.groups)
        if self.few == "error" and not known.all():
            first = group[~known][0]
            hint = nearest(str(first), map(str, self.groups)) if len(self.groups) else "no group has any"
            raise UserError(f"group {first} has no calibration examples; {hint}")
        values = np.full(group.shape, np.inf)
        values[known] = self.values[np.searchsorted(self.groups, group[known])]
        return values


@ranges.checked(alpha=LEVEL, few=ranges.OneOf(Few))
def mondrian(
    scores: Float[ndarray, " N"], group: Shaped[ndarray, " N"], alpha: float, few: Few = "error"
) -> Thresholds:
    """A threshold for each group of examples or each class, so that 1 - alpha holds within each.

    By groups that are known of a new example, compare its scores with `found.of(group)[:, None]`; by classes, for which
    `group` is the label, with `found.of(np.arange(K))[None]`.

    Args:
      scores: Scores of the calibration examples' true labels.
      group: Group of each example, or its label.
      alpha: Largest rate of misses in each group.
      few: What is made of a group that is too small for the level, or has no examples: an error, or the threshold
        infinity.

    Raises:
      UserError: a group has too few examples, and should be merged with another; a score is NaN; or there is not a
        group for each score.

    Source: Vovk, Lindsay, Nouretdinov and Gammerman 2003; Vovk 2012, https://arxiv.org/abs/1209.2673.

    Example:
      >>> found = mondrian(np.arange(8.0), np.array([0, 1] * 4), alpha=0.5)
      >>> found.values.tolist(), found.of(np.array([1, 0, 1])).tolist()
      ([4.0, 5.0], [5.0, 4.0, 5.0])
    """
    scores, group = _checked(scores), np.asarray(group)
    if group.shape != scores.shape:
        raise UserError(f"groups {list(group.shape)} of scores {list(scores.shape)}; give one group for each score")
    groups = np.unique(group)
    values = [_threshold(scores[group == g], alpha, f" of group {g}", few) for g in groups]
    return Thresholds(groups, np.array(values), few)


@ranges.checked(alpha=LEVEL)
def coverage_law(size: int, alpha: float) -> tuple[int, int]:
    """Parameters (a, b) of the Beta law of the coverage, given the calibration set, of continuous scores.

    Args:
      size: Number of calibration examples.
      alpha: Largest rate of misses.

    Raises:
      UserError: there are too few examples.

    Source: Vovk 2012, https://arxiv.org/abs/1209.2673, proposition 2a.

    Example:
      >>> a, b = coverage_law(999, 0.1)
      >>> a / (a + b), round((a * b / (a + b) ** 2 / (a + b + 1)) ** 0.5, 4)  # its mean and standard deviation
      (0.9, 0.0095)
    """
    rank = rank_of(size, alpha)
    return rank, size + 1 - rank


@ranges.checked(alpha=LEVEL)
def weighted_thresholds(
    scores: Float[ndarray, " N"], weights: Float[ndarray, " N"], new_weights: Float[ndarray, " M"], alpha: float
) -> Float[ndarray, " M"]:
    """Thresholds under covariate shift, one for each new example; infinite, all labels, where the others say nothing.

    The calibration scores have the probabilities w_i / (sum w + w_new) and the score infinity the rest; the threshold
    is the quantile 1 - alpha of this law. Where all weights are 0 there is no law, and the threshold is infinite.

    Args:
      scores: Scores of the calibration examples' true labels.
      weights: Density of the new inputs over that of the calibration inputs, at each calibration example, up to a
        factor.
      new_weights: The same at each new example, with the same factor.
      alpha: Largest rate of misses.

    Raises:
      UserError: a weight is negative, infinite or NaN; a score is NaN; or there is not a weight for each score.

    Source: Tibshirani et al. 2019, https://arxiv.org/abs/1904.06019, corollary 1.

    Example:
      >>> weighted_thresholds(np.arange(4.0), np.array([1.0, 1.0, 1.0, 5.0]), np.array([1.0, 8.0]), 0.4).tolist()
      [3.0, inf]
    """
    w, new = np.asarray(weights, np.float64), np.asarray(new_weights, np.float64)
    if not (np.isfinite(w).all() and np.isfinite(new).all() and (w >= 0).all() and (new >= 0).all()):
        raise UserError("a weight is negative, infinite or NaN; give ratios of densities, clipped where one vanishes")
    scores = _checked(scores)
    if w.shape != scores.shape:
        raise UserError(f"weights {list(w.shape)} of scores {list(scores.shape)}; give one weight for each score")
    order = np.argsort(scores, kind="stable")
    total = np.cumsum(w[order])
    needed = (1 - alpha) * (w.sum() + new)
    at = np.where(needed > 0, np.searchsorted(total, needed * (1 - 1e-12)), len(scores))
    return np.append(scores[order], np.inf)[at]
