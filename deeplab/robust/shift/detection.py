"""How well scores tell unusual examples from usual ones: areas under curves, and false alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.metrics import roc
from deeplab.robust.head import Head
from deeplab.robust.inputs import numbers_of
from deeplab.robust.shift import features as of_features
from deeplab.robust.shift import logits as of_logits

Side = Literal["in", "out"]
Score = Callable[[Float[ndarray, "N D"]], Float[ndarray, " N"]]
"""Features -> scores, the larger the more unusual."""


class Detection(NamedTuple):
    """How well a score tells examples outside of the distribution from those inside.

    Attributes:
      auroc: Probability that an example outside scores higher than one inside; 0.5 by chance.
      aupr_in: Average precision with the examples inside as positives.
      aupr_out: Average precision with the examples outside as positives.
      fpr95: Share of the examples outside that pass where 95 % of those inside do.

    Example:
      >>> Detection(auroc=0.93, aupr_in=0.9, aupr_out=0.94, fpr95=0.2).auroc
      0.93
    """

    auroc: float
    aupr_in: float
    aupr_out: float
    fpr95: float


def _curve(inside: ndarray, outside: ndarray, positive: Side) -> roc.Curve:
    (inside,), (outside,) = numbers_of(inside=inside), numbers_of(outside=outside)
    if not len(inside) or not len(outside):
        raise UserError(f"{len(inside)} scores inside and {len(outside)} outside; expected 1 or more of each")
    score = np.concatenate([inside, outside])
    is_out = np.arange(len(score)) >= len(inside)
    return (roc.Scores(score, is_out) if positive == "out" else roc.Scores(-score, ~is_out)).curve()


@ranges.checked(tpr=ranges.FRACTION, positive=ranges.OneOf(Side))
def fpr_at_tpr(
    inside: Float[ndarray, " N"], outside: Float[ndarray, " M"], tpr: float = 0.95, positive: Side = "in"
) -> float:
    """The false positive rate at the first threshold whose true positive rate is at least `tpr`; NaN with a NaN score.

    Args:
      inside: Scores of usual examples.
      outside: Scores of unusual examples.
      tpr: True positive rate.
      positive: Side of the positives. With "in", as in most tables, it is the share of unusual examples that pass; with
        "out" the share of usual ones that are stopped where 95 % of the unusual are.

    Raises:
      UserError: one side has no examples, or scores are not [N].

    Example:
      >>> fpr_at_tpr(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.5, 5.0]), 0.5)
      0.0
    """
    curve = _curve(inside, outside, positive)
    if np.isnan(curve.true[-1]):
        return float("nan")
    first = int(np.argmax(curve.true >= tpr * curve.true[-1] * (1 - 1e-12)))
    return float(curve.false[first] / curve.false[-1])


def detect(inside: Float[ndarray, " N"], outside: Float[ndarray, " M"]) -> Detection:
    """How well a score tells examples outside of the distribution from those inside.

    Args:
      inside: Scores of usual examples.
      outside: Scores of unusual examples.

    Raises:
      UserError: one side has no examples, or scores are not [N].

    Source: Hendrycks and Gimpel 2017, https://arxiv.org/abs/1610.02136; Liu et al. 2020,
    https://arxiv.org/abs/2010.03759.

    Example:
      >>> detect(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
      Detection(auroc=1.0, aupr_in=1.0, aupr_out=1.0, fpr95=0.0)
    """
    out, ins = (_curve(inside, outside, side) for side in ("out", "in"))
    return Detection(
        roc.auroc(out), roc.average_precision(ins), roc.average_precision(out), fpr_at_tpr(inside, outside)
    )


def feature_scores(
    train: Float[ndarray, "N D"], label: Int[ndarray, " N"], head: Head, k: int | None = None
) -> dict[str, Score]:
    """All scores of features by name, each a function of features; for a table, see `detections`. ODIN needs a model.

    Args:
      train: Features of training examples.
      label: Their classes.
      head: Last layer.
      k: Number of the neighbor; 1 % of the training examples when None.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> train, label = rng.normal(size=(200, 4)), rng.integers(0, 3, 200)
      >>> scores = feature_scores(train, label, Head(rng.normal(size=(4, 3)), np.zeros(3)))
      >>> detections(scores, train, 9 + train)["mahalanobis"].auroc > 0.9, len(scores)
      (True, 10)
    """
    k = max(1, len(train) // 100) if k is None else k
    clipped = of_features.react(train)
    return {
        "msp": lambda x: of_logits.msp(head(x)),
        "max_logit": lambda x: of_logits.max_logit(head(x)),
        "energy": lambda x: of_logits.energy(head(x)),
        "gen": lambda x: of_logits.gen(head(x)),
        "mahalanobis": of_features.mahalanobis(train, label),
        "relative_mahalanobis": of_features.mahalanobis(train, label, relative=True),
        "knn": lambda x: of_features.knn_score(train, x, k),
        "vim": of_features.vim(train, head),
        "react": lambda x: of_logits.energy(head(clipped(x))),
        "ash": lambda x: of_logits.energy(head(of_features.ash(x))),
    }


def detections(
    scores: Mapping[str, Score], inside: Float[ndarray, "N D"], outside: Float[ndarray, "M D"]
) -> dict[str, Detection]:
    """How well each score does, by its name.

    Args:
      scores: Functions of features.
      inside: Features of usual examples that were not trained on.
      outside: Features of unusual examples.

    Example:
      >>> inside, outside = np.zeros((3, 1)), np.ones((2, 1))
      >>> detections({"size": lambda x: abs(x[:, 0])}, inside, outside)["size"].auroc
      1.0
    """
    return {name: detect(score(inside), score(outside)) for name, score in scores.items()}
