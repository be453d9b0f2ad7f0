"""Conformal sets of a whole split, each calibrated on other groups, and what they cover: a metric of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from deeplab.core import ranges
from deeplab.robust.calibration.scaling import softmax
from deeplab.robust.conformal.classes import aps, lac, set_coverage, true_scores
from deeplab.robust.conformal.split import LEVEL, mondrian, threshold
from deeplab.robust.inputs import groups_of, labels_of, matrix_of
from deeplab.robust.resampling import dealt

Per = Literal["all", "class"]


@ranges.checked(alpha=LEVEL, per=ranges.OneOf(Per), folds=ranges.Range(at_least=2, whole=True))
def cross_sets(
    scores: Float[ndarray, "N K"],
    label: Int[ndarray, " N"],
    group: Shaped[ndarray, " N"] | None = None,
    alpha: float = 0.1,
    per: Per = "all",
    folds: int = 5,
    seed: int = 0,
) -> Bool[ndarray, "N K"]:
    """Sets whose thresholds are of the other folds, so that no group calibrates its own.

    Where the other folds have too few examples of a class for the level, the class is in every set.
    Without groups, the folds go by the places of the examples, so that another order gives other sets.

    Args:
      scores: Scores of the classes, such as `lac(p)`.
      label: True labels.
      group: Group of each example, such as its patient, which is within one fold; each example when None.
      alpha: Largest rate of misses.
      per: What has a threshold of its own: "class", each class (Mondrian).
      folds: Number of folds, to which groups are dealt out by lot.
      seed: Seed of the lot.

    Raises:
      UserError: the scores are not [N, K], one of a label is NaN, a label is no class, or there is not a group for each
        example.

    Source: Vovk 2015, "Cross-conformal predictors", https://arxiv.org/abs/1208.0806, of which this takes, for each
    example, the split conformal part.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> label = rng.integers(0, 3, 600)
      >>> p = softmax(2 * np.eye(3)[label] + rng.normal(size=(600, 3)))
      >>> found = set_coverage(cross_sets(lac(p), label, alpha=0.1), label)
      >>> bool(0.85 < found.coverage[0] < 0.95)
      True
    """
    scores = matrix_of(scores, "scores", "K")
    N, K = scores.shape
    label, true = labels_of(label, K, N), true_scores(scores, label)
    fold = dealt(N, group, folds, seed)
    sets = np.zeros(scores.shape, bool)
    for k in range(folds):
        inside = fold == k
        if per == "all":
            at = np.full(K, threshold(true[~inside], alpha, few="everything"))
        else:
            at = mondrian(true[~inside], label[~inside], alpha, few="everything").of(np.arange(K))
        sets[inside] = scores[inside] <= at[None]
    return sets


def summary(
    alpha: float = 0.1, class_names: Sequence[str] = (), folds: int = 5, seed: int = 0
) -> Callable[[ndarray, ndarray, ndarray | None], dict[str, float]]:
    """Makes a function from `(logits [N, K], label [N], group [N] or None)` to what cross-calibrated sets cover.

    Of the kinds `lac`, `aps` and `by_class` (LAC with a threshold for each class) there are `KIND_coverage` and
    `KIND_size`, `KIND_coverage_CLASS` of the examples of each class, and over the groups `KIND_least_group`, the
    smallest coverage of one, and `KIND_groups_below`, the share of those below 1 - alpha. It fits
    `deeplab.tasks.Clinical(calibrate=...)`. The examples are put into the order of their logits first, so that what is
    drawn does not depend on the order in which they are given.

    Args:
      alpha: Largest rate of misses.
      class_names: Names of the classes; numbers when empty.
      folds: Number of folds of `cross_sets`.
      seed: Seed of the folds and of what APS draws.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> label = rng.integers(0, 2, 400)
      >>> told = summary(0.1)(3 * np.eye(2)[label] + rng.normal(size=(400, 2)), label, np.arange(400) // 40)
      >>> sorted(told)[:4], bool(0.85 < told["lac_coverage"] < 0.95)
      (['aps_coverage', 'aps_coverage_0', 'aps_coverage_1', 'aps_groups_below'], True)
    """

    def told(logits: ndarray, label: ndarray, group: ndarray | None = None) -> dict[str, float]:
        z = matrix_of(logits, "logits", "K")
        label = labels_of(label, z.shape[1], len(z))
        groups = np.zeros(len(z)) if group is None else groups_of(group, len(z))
        order = np.lexsort((np.unique(groups, return_inverse=True)[1], label, *z.T))
        p, label, group = softmax(z[order]), label[order], None if group is None else groups[order]
        drawn = aps(p, np.random.default_rng(seed).random(len(p)))
        kinds: dict[str, tuple[ndarray, Per]] = {
            "lac": (lac(p), "all"), "aps": (drawn, "all"), "by_class": (lac(p), "class")
        }  # fmt: skip
        values: dict[str, Any] = {}
        for kind, (scores, per) in kinds.items():
            sets = cross_sets(scores, label, group, alpha, per, folds, seed)
            of_class = set_coverage(sets, label, label)
            values |= {f"{kind}_coverage": of_class.coverage[0], f"{kind}_size": of_class.size[0]}
            for k, covered in zip(of_class.group[1:], of_class.coverage[1:], strict=True):
                values[f"{kind}_coverage_{class_names[int(k)] if class_names else k}"] = covered
            if group is not None:
                of_group = set_coverage(sets, label, group).coverage[1:]
                values |= {
                    f"{kind}_least_group": of_group.min(initial=np.inf),
                    f"{kind}_groups_below": np.mean(of_group < 1 - alpha) if len(of_group) else np.nan,
                }
        return {name: float(value) for name, value in values.items()}

    return told
