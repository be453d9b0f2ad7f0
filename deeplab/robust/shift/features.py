"""Scores of how unusual an example is, of features [N, D], and changes of features before the head reads them.

Features are what the last layer of a classifier reads, see `deeplab.robust.head.tap_head`. The larger a score, the less
like the training examples. K classes, D features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.representation.knn import neighbors
from deeplab.robust.head import Head
from deeplab.robust.inputs import matrix_of
from deeplab.robust.shift.logits import energy

Change = Callable[[Float[ndarray, "N D"]], Float[ndarray, "N D"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Mahalanobis:
    """min_k (x - m_k)' P (x - m_k), minus the same of one Gaussian of all classes where it is relative.

    Attributes:
      means: Mean of each class.
      precision: Inverse of the classes' common covariance.
      background: Mean and inverse covariance of all examples; None where the score is not relative.

    Example:
      >>> Mahalanobis(np.zeros((1, 2)), np.eye(2))(np.array([[3.0, 4.0]])).tolist()
      [25.0]
    """

    means: Float[ndarray, "K D"]
    precision: Float[ndarray, "D D"]
    background: tuple[ndarray, ndarray] | None = None

    def __call__(self, features: Float[ndarray, "N D"]) -> Float[ndarray, " N"]:
        x = matrix_of(features, "features", self.means.shape[1])
        each = np.stack([_squared(x - m[None], self.precision) for m in self.means], axis=1)
        if self.background is None:
            return each.min(axis=1)
        mean, precision = self.background
        return each.min(axis=1) - _squared(x - mean[None], precision)


def _squared(x: ndarray, precision: ndarray) -> ndarray:
    return np.sum((x @ precision) * x, axis=1)


def _precision(centered: ndarray) -> ndarray:
    """The pseudo-inverse: a direction without variance, as of a unit that is always 0, counts nothing."""
    return np.linalg.pinv(centered.T @ centered / len(centered), rcond=1e-10, hermitian=True)


def _training(features: ndarray) -> ndarray:
    x = matrix_of(features, "features")
    if not len(x) or not np.isfinite(x).all():
        raise UserError(f"features {list(x.shape)} are none, or hold a NaN or infinity; leave such examples out")
    return x


def mahalanobis(features: Float[ndarray, "N D"], label: Int[ndarray, " N"], relative: bool = False) -> Mahalanobis:
    """The squared distance to the nearest class, in units of the classes' common covariance.

    Args:
      features: Features of training examples.
      label: Their classes.
      relative: Whether the distance under one Gaussian of all examples is subtracted, which helps near the classes.

    Raises:
      UserError: there are no features [N, D], one is not finite, or there is not a label for each example.

    Source: Lee et al. 2018, https://arxiv.org/abs/1807.03888; relative, Ren et al. 2021,
    https://arxiv.org/abs/2106.09022.

    Example:
      >>> x = np.array([[0.0], [2.0], [10.0], [12.0]])
      >>> mahalanobis(x, np.array([0, 0, 1, 1]))(np.array([[1.0], [8.0]])).tolist()
      [0.0, 9.0]
    """
    x, label = _training(features), np.asarray(label)
    if label.shape != (len(x),):
        raise UserError(f"features {list(x.shape)} and labels {list(label.shape)}; expected [N, D] and [N]")
    classes, member = np.unique(label, return_inverse=True)
    means = np.stack([x[member == k].mean(axis=0) for k in range(len(classes))])
    mean = x.mean(axis=0)
    background = (mean, _precision(x - mean[None])) if relative else None
    return Mahalanobis(means, _precision(x - means[member]), background)


def knn_score(train: Float[ndarray, "M D"], features: Float[ndarray, "N D"], k: int = 50) -> Float[ndarray, " N"]:
    """The distance to the k-th nearest training example, of features of length 1.

    Args:
      train: Features of training examples.
      features: Features to score.
      k: Number of the neighbor; some 1 % of the training examples.

    Raises:
      UserError: there are fewer than k training examples, or the sizes of the features differ.

    Source: Sun et al. 2022, https://arxiv.org/abs/2204.06507.

    Example:
      >>> knn_score(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 0.0]]), k=1).tolist()
      [0.0]
    """
    train, features = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        for x in (matrix_of(train, "features"), matrix_of(features, "features"))
    )
    return neighbors(train, features, k).distances[:, -1]


@dataclasses.dataclass(frozen=True, eq=False)
class Vim:
    """alpha |R' (x - o)| - log sum_k exp z_k: a virtual logit of what the training features do not span.

    Attributes:
      head: Last layer.
      origin: Features o at which the logits are 0, as nearly as can be.
      residual: Basis R of the directions of least variance.
      alpha: Factor that makes the virtual logit as large as the largest logit, on average of training examples.

    Example:
      >>> from deeplab.robust.head import Head
      >>> score = Vim(Head(np.eye(2), np.zeros(2)), np.zeros(2), np.array([[0.0], [1.0]]), 2.0)
      >>> score(np.array([[0.0, 3.0]])).round(4).tolist()  # 2 * 3 - log(1 + exp(3))
      [2.9514]
    """

    head: Head
    origin: Float[ndarray, " D"]
    residual: Float[ndarray, "D R"]
    alpha: float

    def __call__(self, features: Float[ndarray, "N D"]) -> Float[ndarray, " N"]:
        x = matrix_of(features, "features", len(self.origin))
        apart = np.linalg.norm((x - self.origin[None]) @ self.residual, axis=1)
        return self.alpha * apart + energy(self.head(x))


@ranges.checked(size=ranges.COUNT)
def vim(train: Float[ndarray, "N D"], head: Head, size: int | None = None) -> Vim:
    """Virtual-logit matching.

    Args:
      train: Features of training examples.
      head: Last layer.
      size: Number of principal directions; half of the features when None, and 1,000 of 2,000 or more.

    Raises:
      UserError: no direction is left, there are no features [N, D] of the head, or one is not finite.

    Source: Wang et al. 2022, https://arxiv.org/abs/2203.10807.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> train = np.concatenate([rng.normal(size=(99, 2)), np.zeros((99, 2))], axis=1)
      >>> score = vim(train + 0.01 * rng.normal(size=(99, 4)), Head(rng.normal(size=(4, 3)), np.zeros(3)))
      >>> bool(score(np.array([[0.0, 0.0, 1.0, 1.0]]))[0] > score(train).max())
      True
    """
    x = matrix_of(_training(train), "features", np.shape(head.kernel)[0])
    D = x.shape[1]
    size = min(1000, D // 2) if size is None else size
    if size >= D:
        raise UserError(f"{size} principal directions of {D} features leave none; give size={D - 1} at most")
    kernel, bias = (np.asarray(w, np.float64) for w in head)
    origin = -np.linalg.pinv(kernel.T) @ bias
    centered = x - origin[None]
    residual = np.linalg.eigh(centered.T @ centered / len(x))[1][:, : D - size]  # eigenvalues ascend
    alpha = head(x).max(axis=1).mean() / np.linalg.norm(centered @ residual, axis=1).mean()
    return Vim(head, origin, residual, float(alpha))


@ranges.checked(quantile=ranges.FRACTION)
def react(train: Float[ndarray, "N D"], quantile: float = 0.9) -> Change:
    """Features cut at a quantile of all training features, before the head reads them.

    `energy(head(react(train)(features)))` is the score.

    Args:
      train: Features of training examples.
      quantile: Share of the training features that stay as they are.

    Raises:
      UserError: there are no features [N, D], or one is not finite; when it is called, the features are of another
        size.

    Source: Sun, Guo and Li 2021, https://arxiv.org/abs/2111.12797.

    Example:
      >>> react(np.arange(11.0)[:, None], 0.5)(np.array([[3.0], [8.0]])).tolist()
      [[3.0], [5.0]]
    """
    x = _training(train)
    highest, D = float(np.quantile(x, quantile)), x.shape[1]
    return lambda features: np.minimum(matrix_of(features, "features", D), highest)


Kept = Literal["s", "p", "b"]


@ranges.checked(quantile=ranges.RATE, kind=ranges.OneOf(Kept))
def ash(features: Float[ndarray, "N D"], quantile: float = 0.65, kind: Kept = "s") -> Float[ndarray, "N D"]:
    """Features of which each example keeps its largest, before the head reads them.

    `energy(head(ash(features)))` is the score. It is meant for features that are not negative.

    Args:
      features: Features.
      quantile: Share of the features of an example that become 0; one stays at least.
      kind: What becomes of the others: "p", they stay; "b", each becomes the mean that keeps the sum; "s", they are
        multiplied by exp(sum before / sum after).

    Returns:
      The features; NaN of an example with a NaN.

    Raises:
      UserError: the features are not [N, D].

    Source: Djurisic et al. 2023, https://arxiv.org/abs/2209.09858.

    Example:
      >>> x = np.array([[1.0, 2.0, 5.0, 0.0]])
      >>> ash(x, 0.5, "p").tolist(), ash(x, 0.5, "b").tolist(), ash(x, 0.5).round(2).tolist()
      ([[0.0, 2.0, 5.0, 0.0]], [[0.0, 4.0, 4.0, 0.0]], [[0.0, 6.27, 15.68, 0.0]])
    """
    x = matrix_of(features, "features")
    kept = max(1, x.shape[1] - round(x.shape[1] * quantile))
    order = np.argsort(-x, axis=1, kind="stable")[:, :kept]
    total = x.sum(axis=1, keepdims=True)
    made = np.zeros_like(x)
    np.put_along_axis(made, order, np.take_along_axis(x, order, axis=1), axis=1)
    if kind == "b":
        np.put_along_axis(made, order, np.repeat(total / kept, kept, axis=1), axis=1)
    if kind == "s":
        after = made.sum(axis=1, keepdims=True)
        made = made * np.exp(total / np.where(after > 0, after, 1))
    return np.where(np.isnan(total), np.nan, made)
