"""Parts of the uncertainty of several predictions: of the data, and of the model.

S samples or members, N examples, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core.errors import UserError
from deeplab.robust.inputs import probabilities_of


class Uncertainty(NamedTuple):
    """total = aleatoric + epistemic; in nats for classes, in squared units for numbers.

    Attributes:
      total: Uncertainty of the mean prediction.
      aleatoric: Mean uncertainty of the predictions, which no further training examples take away.
      epistemic: What the predictions differ, 0 where all are the same.

    Example:
      >>> found = Uncertainty(total=np.array([0.69]), aleatoric=np.array([0.5]), epistemic=np.array([0.19]))
      >>> bool(np.allclose(found.total, found.aleatoric + found.epistemic))
      True
    """

    total: Float[ndarray, " N"]
    aleatoric: Float[ndarray, " N"]
    epistemic: Float[ndarray, " N"]


def decompose(probabilities: Float[ndarray, "S N K"]) -> Uncertainty:
    """H[E p] = E H[p] + (H[E p] - E H[p]), of which the second part is the mutual information of label and model.

    Args:
      probabilities: Probabilities of each sample or member.

    Raises:
      UserError: they are not [S, N, K], or do not sum to one.

    Source: Depeweg et al. 2018, https://arxiv.org/abs/1710.07283; of ensembles, Lakshminarayanan et al. 2017,
    https://arxiv.org/abs/1612.01474.

    Example:
      >>> found = decompose(np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]))
      >>> found.aleatoric.round(3).tolist(), found.epistemic.round(3).tolist()
      ([0.0, 0.693], [0.693, 0.0])
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 3 or not len(p):
        raise UserError(f"probabilities have the shape {list(p.shape)}, expected [S, N, K] of S samples or members")
    p = probabilities_of(p.reshape(-1, p.shape[-1])).reshape(p.shape)
    total, aleatoric = _entropy(p.mean(axis=0)), _entropy(p).mean(axis=0)
    epistemic = np.maximum(total - aleatoric, 0)  # it is never below 0, but for rounding
    return Uncertainty(total, total - epistemic, epistemic)


def _entropy(p: ndarray) -> ndarray:
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)


def decompose_normal(mean: Float[ndarray, "S N"], variance: Float[ndarray, "S N"]) -> Uncertainty:
    """The law of total variance, of predicted normal laws: Var y = E variance + Var mean.

    Args:
      mean: Predicted mean of each sample or member.
      variance: Predicted variance of each; zeros where a model predicts none.

    Raises:
      UserError: the shapes differ, or a variance is negative.

    Source: Kendall and Gal 2017, https://arxiv.org/abs/1703.04977.

    Example:
      >>> decompose_normal(np.array([[1.0], [3.0]]), np.array([[0.5], [0.5]])).total.tolist()
      [1.5]
    """
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    if mean.shape != variance.shape or mean.ndim != 2 or not (variance >= 0).all():
        raise UserError(f"means {list(mean.shape)} and variances {list(variance.shape)}; expected [S, N], 0 or more")
    aleatoric, epistemic = variance.mean(axis=0), mean.var(axis=0)
    return Uncertainty(aleatoric + epistemic, aleatoric, epistemic)
