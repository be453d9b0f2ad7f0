"""Scores of how unusual an example is, of logits [N, K]: the larger, the less like the training examples."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core import ranges
from deeplab.robust.calibration.scaling import softmax
from deeplab.robust.inputs import matrix_of


def msp(logits: Float[ndarray, "N K"]) -> Float[ndarray, " N"]:
    """-max_k softmax(z)_k.

    Raises:
      UserError: the logits are not [N, K].

    Source: Hendrycks and Gimpel 2017, https://arxiv.org/abs/1610.02136.

    Example:
      >>> msp(np.zeros((1, 4))).tolist()
      [-0.25]
    """
    return -softmax(matrix_of(logits, "logits", "K")).max(axis=1)


def max_logit(logits: Float[ndarray, "N K"]) -> Float[ndarray, " N"]:
    """-max_k z_k.

    Raises:
      UserError: the logits are not [N, K].

    Source: Hendrycks et al. 2022, https://arxiv.org/abs/1911.11132.

    Example:
      >>> max_logit(np.array([[1.0, 3.0]])).tolist()
      [-3.0]
    """
    return -matrix_of(logits, "logits", "K").max(axis=1)


@ranges.checked(temperature=ranges.POSITIVE)
def energy(logits: Float[ndarray, "N K"], temperature: float = 1.0) -> Float[ndarray, " N"]:
    """-T log sum_k exp(z_k / T). Whatever is added to all logits is taken from the score.

    Args:
      logits: Logits.
      temperature: Temperature T.

    Raises:
      UserError: the logits are not [N, K].

    Source: Liu et al. 2020, https://arxiv.org/abs/2010.03759.

    Example:
      >>> energy(np.zeros((1, 4))).round(4).tolist()
      [-1.3863]
    """
    return -temperature * np.logaddexp.reduce(matrix_of(logits, "logits", "K") / temperature, axis=1)


@ranges.checked(gamma=ranges.POSITIVE, top=ranges.COUNT)
def gen(logits: Float[ndarray, "N K"], gamma: float = 0.1, top: int | None = None) -> Float[ndarray, " N"]:
    """Generalized entropy sum_k p_k^gamma (1 - p_k)^gamma of the likeliest classes.

    Args:
      logits: Logits.
      gamma: Exponent; a small one sees small probabilities.
      top: Number of classes that count; all when None.

    Raises:
      UserError: the logits are not [N, K].

    Source: Liu, Lochman and Zach 2023, https://openaccess.thecvf.com/content/CVPR2023/html/Liu_GEN_CVPR_2023_paper.html.

    Example:
      >>> gen(np.zeros((1, 4)), gamma=1.0).tolist()
      [0.75]
    """
    p = -np.sort(-softmax(matrix_of(logits, "logits", "K")), axis=1)[:, :top]
    p = np.clip(p, 1e-7, 1 - 1e-7)  # as in the authors' code: a probability of exactly 1 would hide all others
    return np.sum((p * (1 - p)) ** gamma, axis=1)
