"""Temperature and vector scaling of logits, on the host, of all predictions of a split.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", https://arxiv.org/abs/1706.04599.
N examples, K classes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.calibration.binned import expected_calibration_error
from deeplab.robust.calibration.newton import Derivatives, minimized
from deeplab.robust.inputs import labels_of, matrix_of, of_label
from deeplab.robust.resampling import dealt


def temperature(logits: Float[ndarray, "N K"], label: Int[ndarray, " N"]) -> float:
    """The temperature T in [0.01, 100] that maximizes the likelihood of softmax(logits / T).

    It changes the confidence, and not the order of the classes. The negative log-likelihood,
    mean_n (log sum_k exp(b z_nk) - b z_ny), is convex in b = 1 / T, so that a line search finds its minimum. If all
    predictions are correct the optimum is T = 0, and the result is near 0.01. NaN without examples, with NaN logits, or
    where the likelihood is 0 for every T, as of a label whose logit is -inf.

    Where the logits of each example are equal, every T is optimal, and the result is 1.

    Raises:
      UserError: the logits are not [N, K], or a label is no class.

    Example:
      >>> logits = np.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
      >>> round(temperature(logits, np.array([0, 0, 0, 0])), 2)  # 1 / T = log(3 / 1) / 2
      1.82
    """
    from scipy.optimize import minimize_scalar  # takes half a second to import

    z = matrix_of(logits, "logits", "K")
    own = of_label(z, labels_of(label, z.shape[1], len(z)))
    if not len(z) or np.isnan(z).any() or not np.isfinite(own).all() or np.isposinf(z).any():
        return float("nan")
    z = z - own[:, None]  # the label's logit is 0
    if not z[np.isfinite(z)].any():
        return 1.0
    highest = z.max(axis=1)

    def loss(log_b: float) -> float:
        b = np.exp(log_b)
        return float(np.mean(b * highest + np.log(np.sum(np.exp(b * (z - highest[:, None])), axis=1))))

    found = minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(-found.x))


@ranges.checked(folds=ranges.Range(at_least=2, whole=True))
def cross_fitted(
    logits: Float[ndarray, "N K"],
    label: Int[ndarray, " N"],
    group: Shaped[ndarray, " N"] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Float[ndarray, "N K"]:
    """Logits / T by cross-fitting: the T of each example is fitted on the other folds.

    Args:
      logits: Logits of a held-out split.
      label: Labels of the split.
      group: Group of each example, such as its patient, which is within one fold. None means that each example is a
        group.
      folds: Number of folds, to which groups are dealt out by lot.
      seed: Seed of the lot.

    Returns:
      The scaled logits. With a single group they are unchanged.

    Raises:
      UserError: the logits are not [N, K], a label is no class, or there is not a group for each example.

    Example:
      >>> logits, label = 9.0 * np.eye(2)[[0, 1] * 10], np.array([0, 1] * 9 + [1, 0])  # too sure: 90 % are right
      >>> bool((abs(cross_fitted(logits, label)) <= abs(logits)).all())
      True
    """
    z = matrix_of(logits, "logits", "K")
    label, scaled = labels_of(label, z.shape[1], len(z)), z.copy()
    fold = dealt(len(label), group, folds, seed)
    for k in range(folds):
        inside = fold == k
        if inside.any() and not inside.all():
            scaled[inside] /= temperature(z[~inside], label[~inside])
    return scaled


def summary(
    logits: Float[ndarray, "N K"], label: Int[ndarray, " N"], group: Shaped[ndarray, " N"] | None = None
) -> dict[str, float]:
    """`ece` of the logits, `ece_scaled` after cross-fitted temperature scaling, and `temperature` of the whole split.

    Confidence is the largest probability; a prediction is correct if its class is the label.

    Raises:
      UserError: the logits are not [N, K], a label is no class, or there is not a group for each example.

    Example:
      >>> logits, label = 9.0 * np.eye(2)[[0, 1] * 10], np.array([0, 1] * 9 + [1, 0])  # too sure: 90 % are right
      >>> found = summary(logits, label)
      >>> round(found["ece"], 2), round(found["temperature"], 1)
      (0.1, 4.1)
    """

    def error(z: np.ndarray) -> float:
        p = softmax(z)
        return expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == np.asarray(label))

    scaled = cross_fitted(logits, label, group)
    return {"ece": error(logits), "ece_scaled": error(scaled), "temperature": temperature(logits, label)}


def softmax(logits: Float[ndarray, "... K"]) -> Float[ndarray, "... K"]:
    """Softmax over the last axis, in float64.

    Example:
      >>> softmax(np.zeros((1, 2))).tolist()
      [[0.5, 0.5]]
    """
    z = np.asarray(logits, np.float64)
    z = np.exp(z - z.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


@dataclasses.dataclass(frozen=True, eq=False)
class VectorScaling:
    """The logits z -> scale * z + offset.

    Attributes:
      scale: Factor of each class.
      offset: Summand of each class; they add up to 0.

    Example:
      >>> VectorScaling(np.array([0.5, 1.0]), np.array([0.1, -0.1]))(np.array([[2.0, 1.0]])).tolist()
      [[1.1, 0.9]]
    """

    scale: Float[ndarray, " K"]
    offset: Float[ndarray, " K"]

    def __call__(self, logits: Float[ndarray, "N K"]) -> Float[ndarray, "N K"]:
        return self.scale[None] * np.asarray(logits, np.float64) + self.offset[None]


def vector_scaling(logits: Float[ndarray, "N K"], label: Int[ndarray, " N"]) -> VectorScaling:
    """The factor and the summand of each class that maximize the likelihood of softmax(scale * z + offset).

    It may change the order of the classes, unlike a temperature. For two classes it is logistic regression. The
    negative log-likelihood is convex, and minimized by Newton's method; where the classes can be separated by it, the
    factors are large and finite. NaN without examples, or with NaN logits.

    Raises:
      UserError: the logits are not [N, K], or infinite, or a label is no class.

    Source: Guo et al. 2017, section 4.2.

    Example:
      >>> logits = np.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
      >>> found = vector_scaling(logits, np.array([0, 0, 1, 1, 0]))
      >>> softmax(found(logits[[0, 3]])).round(3).tolist()
      [[0.667, 0.333], [0.5, 0.5]]
    """
    z = matrix_of(logits, "logits", "K")
    N, K = z.shape
    y = labels_of(label, K, N)
    if np.isinf(z).any():
        raise UserError("a logit is infinite, and its factor has no best value; give np.clip(logits, -100, 100)")
    if not N or np.isnan(z).any():
        return VectorScaling(*np.full((2, K), np.nan))
    right = np.eye(K)[y]

    def derivatives(theta: ndarray) -> Derivatives:
        u = theta[:K][None] * z + theta[K:][None]
        u = u - u.max(axis=1, keepdims=True)
        total = np.exp(u).sum(axis=1, keepdims=True)
        p = np.exp(u) / total
        loss = float(np.mean(np.log(total[:, 0]) - u[np.arange(N), y]))
        both = np.concatenate([p * z, p], axis=1)
        ww, wb, bb = (np.diag((p * f).mean(axis=0)) for f in (z**2, z, np.ones_like(z)))
        hessian = np.block([[ww, wb], [wb, bb]]) - both.T @ both / N
        return loss, np.concatenate([((p - right) * z).mean(axis=0), (p - right).mean(axis=0)]), hessian

    theta = minimized(derivatives, np.concatenate([np.ones(K), np.zeros(K)]))
    return VectorScaling(theta[:K], theta[K:] - theta[K:].mean())
