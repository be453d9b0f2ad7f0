"""Decisions that treat groups alike: thresholds of a score by group, with a random part where none is exact.

N examples, G groups.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError, nearest
from deeplab.robust.inputs import truths_of

Constraint = Literal["odds", "opportunity", "parity"]


class GroupThresholds(NamedTuple):
    """A randomized decision by group: with probability `ignore` positive at the rate `constant`, and else
    `score >= first` with probability `mix`, or `score >= second`.

    Attributes:
      groups: Groups, ascending.
      first: First threshold of each group; NaN for one that no score passes, where scores are infinite.
      second: Second threshold.
      mix: Probability of the first.
      ignore: Probability that the score is ignored.
      constant: Rate of positive decisions where it is.
      false_positive_rate: Rate that each group has on the examples that the thresholds were fitted on.
      true_positive_rate: The same of the true positive rate.

    Example:
      >>> ones, zeros = np.ones(1), np.zeros(1)
      >>> rule = GroupThresholds(np.array(["a"]), ones * 0.5, ones, ones, zeros, zeros, zeros, zeros)
      >>> rule.probability(np.array([0.4, 0.7]), np.array(["a", "a"])).tolist()
      [0.0, 1.0]
    """

    groups: Shaped[ndarray, " G"]
    first: Float[ndarray, " G"]
    second: Float[ndarray, " G"]
    mix: Float[ndarray, " G"]
    ignore: Float[ndarray, " G"]
    constant: Float[ndarray, " G"]
    false_positive_rate: Float[ndarray, " G"]
    true_positive_rate: Float[ndarray, " G"]

    def probability(self, score: Float[ndarray, " N"], group: Shaped[ndarray, " N"]) -> Float[ndarray, " N"]:
        """Probability of a positive decision; `u < probability` decides, with u of `conformal.uniforms`.

        NaN where the score is.

        Raises:
          UserError: a group is unknown.
        """
        score, group = np.asarray(score, np.float64), np.asarray(group)
        at = np.minimum(np.searchsorted(self.groups, group), len(self.groups) - 1)
        if (unknown := self.groups[at] != group).any():
            hint = nearest(str(group[unknown][0]), map(str, self.groups))
            raise UserError(f"group {group[unknown][0]} has no thresholds; {hint}")
        mix, ignore = self.mix[at], self.ignore[at]
        passed = mix * (score >= self.first[at]) + (1 - mix) * (score >= self.second[at])
        return np.where(np.isnan(score), np.nan, ignore * self.constant[at] + (1 - ignore) * passed)


class _Hull(NamedTuple):
    """The upper hull of a ROC curve, from (0, 0) to (1, 1), and the threshold of each corner."""

    false: ndarray
    true: ndarray
    threshold: ndarray


def _hull(score: ndarray, y: ndarray) -> _Hull:
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each distinct score, infinite ones too
    true = np.append(0.0, np.cumsum(y[order])[last] / y.sum())
    false = np.append(0.0, np.cumsum(~y[order])[last] / (~y).sum())
    none = np.nan if ranked[0] == np.inf else np.inf  # a score of infinity passes all thresholds but NaN
    threshold = np.append(none, ranked[last])
    kept: list[int] = []
    for i in range(len(true)):
        while len(kept) > 1:
            a, b = kept[-2:]
            turn = (false[b] - false[a]) * (true[i] - true[a]) - (true[b] - true[a]) * (false[i] - false[a])
            if turn < 0:
                break
            kept.pop()  # b is on or below the line from a to i
        kept.append(i)
    return _Hull(false[kept], true[kept], threshold[kept])


def _along(hull: _Hull, coordinate: ndarray, at: ndarray, last: bool) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Points of a hull where a coordinate has these values: rates, the corner before, and the share of the next one."""
    side = "right" if last else "left"
    before = np.clip(np.searchsorted(coordinate, at, side=side) - 1, 0, len(coordinate) - 2)
    width = coordinate[before + 1] - coordinate[before]
    share = np.clip((at - coordinate[before]) / np.where(width > 0, width, 1), 0, 1)
    false, true = (x[before] + share * (x[before + 1] - x[before]) for x in hull[:2])
    return false, true, before, share


def _hulls(score: ndarray, y: ndarray, group: ndarray) -> tuple[ndarray, ndarray, ndarray, list[_Hull]]:
    """The groups, their sizes, their shares of positives, and their hulls."""
    if not score.shape == y.shape == group.shape or score.ndim != 1 or not len(score):
        shapes = [list(x.shape) for x in (score, y, group)]
        raise UserError("score {}, label {} and group {}; expected [N] of each".format(*shapes))
    if np.isnan(score).any():
        raise UserError(f"{int(np.isnan(score).sum())} of {len(score)} scores are NaN; leave them out")
    groups, member = np.unique(group, return_inverse=True)
    base = np.array([y[member == g].mean() for g in range(len(groups))])
    if (alone := (base == 0) | (base == 1)).any():
        missing = "negatives" if base[alone][0] else "positives"
        raise UserError(f"group {groups[alone][0]} has no {missing}; merge it with another group, or leave it out")
    return groups, np.bincount(member), base, [_hull(score[member == g], y[member == g]) for g in range(len(groups))]


@ranges.checked(constraint=ranges.OneOf(Constraint), false_positive=ranges.NATURAL, false_negative=ranges.NATURAL)
def equalizing_thresholds(
    score: Float[ndarray, " N"],
    label: Bool[ndarray, " N"],
    group: Shaped[ndarray, " N"],
    constraint: Constraint = "odds",
    false_positive: float = 1.0,
    false_negative: float = 1.0,
) -> GroupThresholds:
    """The thresholds by group of least cost among those under which the groups are treated alike.

    All that a score can reach in a group is the area below the hull of its ROC curve, by mixing two thresholds and, for
    a point inside of it, a decision that ignores the score.

    Args:
      score: Score, the larger the more likely positive.
      label: Whether each example is positive.
      group: Group of each example.
      constraint: What is equal: "odds", the true and the false positive rate; "opportunity", the true positive rate;
        "parity", the share of positive decisions.
      false_positive: Cost of a false positive.
      false_negative: Cost of a false negative.

    Raises:
      UserError: a group has no positives or no negatives, the arrays differ in length, a score is NaN, or a label is
        neither 0 nor 1.

    Source: Hardt, Price and Srebro 2016, https://arxiv.org/abs/1610.02413, section 4.

    Example:
      >>> score, label = np.array([0.1, 0.6, 0.4, 0.9]), np.array([False, True, False, True])
      >>> found = equalizing_thresholds(score, label, np.array([1, 1, 2, 2]))
      >>> found.probability(score, np.array([1, 1, 2, 2])).tolist()
      [0.0, 1.0, 0.0, 1.0]
    """
    positive = truths_of(label, "label", len(score)).astype(bool)
    groups, size, base, hulls = _hulls(np.asarray(score, np.float64), positive, np.asarray(group))
    coordinates = [
        {"odds": h.false, "opportunity": h.true, "parity": b * h.true + (1 - b) * h.false}[constraint]
        for h, b in zip(hulls, base, strict=True)
    ]
    tried = np.unique(np.concatenate([np.linspace(0, 1, 1001), *coordinates]))
    # Where a coordinate stays while the other rate improves, the better end is taken.
    found = [_along(h, c, tried, constraint == "odds") for h, c in zip(hulls, coordinates, strict=True)]
    false, true = (np.stack([each[i] for each in found]) for i in (0, 1))  # [G, tried]
    reached = np.minimum.reduce(true, axis=0, keepdims=True) + np.zeros_like(true) if constraint == "odds" else true
    cost = false_positive * (1 - base)[:, None] * false + false_negative * base[:, None] * (1 - reached)
    best = int((size @ cost).argmin())
    above = true[:, best] - reached[:, best]
    ignore = np.where(above > 0, above / np.where(above > 0, true[:, best] - false[:, best], 1), 0)
    before, share = (np.array([each[i][best] for each in found]) for i in (2, 3))
    corners = [h.threshold[[b, b + 1]] for h, b in zip(hulls, before, strict=True)]
    first, second = np.array(corners).T
    return GroupThresholds(groups, first, second, 1 - share, ignore, false[:, best], false[:, best], reached[:, best])
