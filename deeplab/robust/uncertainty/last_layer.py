"""Last-layer Laplace: a Gaussian over the weights of a classifier's last layer, from its curvature there.

N examples, M new ones, D features, K classes; P = (D + 1) K weights, in the order of [kernel; bias], row by row.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.calibration.scaling import softmax
from deeplab.robust.head import Head
from deeplab.robust.inputs import labels_of

_LARGEST = 8192  # weights, whose covariance takes 0.5 GB


def _extended(features: Float[ndarray, "N D"]) -> Float[ndarray, "N D1"]:
    x = np.asarray(features, np.float64)
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Laplace:
    """A Gaussian over the weights of a last layer.

    Attributes:
      head: Last layer, the mean.
      covariance: Covariance of the weights.
      prior_precision: Precision of the weights' prior, a normal law around 0.
      log_evidence: Logarithm of the marginal likelihood of the training labels.

    Example:
      >>> from deeplab.robust.head import Head
      >>> model = Laplace(Head(np.eye(2), np.zeros(2)), 0.1 * np.eye(6), 1.0, -3.0)
      >>> model.probabilities(np.array([[1.0, 0.0]])).shape
      (1, 2)
    """

    head: Head
    covariance: Float[ndarray, "P P"]
    prior_precision: float
    log_evidence: float

    def logit_covariance(self, features: Float[ndarray, "M D"]) -> Float[ndarray, "M K K"]:
        """Covariance of the logits of each example."""
        x = _extended(features)
        K = len(self.covariance) // x.shape[1]
        cube = self.covariance.reshape(x.shape[1], K, x.shape[1], K)
        return np.einsum("md,dkel,me->mkl", x, cube, x, optimize=True)

    def probabilities(self, features: Float[ndarray, "M D"]) -> Float[ndarray, "M K"]:
        """softmax(z_k / sqrt(1 + pi / 8 v_k)) of the logits z and their variances v.

        Source: MacKay 1992, https://doi.org/10.1162/neco.1992.4.5.720; of several classes, Gibbs 1997.
        """
        variance = np.diagonal(self.logit_covariance(features), axis1=1, axis2=2)
        return softmax(self.head(features) / np.sqrt(1 + np.pi / 8 * variance))

    def samples(self, features: Float[ndarray, "M D"], count: int = 100, seed: int = 0) -> Float[ndarray, "S M K"]:
        """Probabilities under drawn weights, for `decompose`; their mean is the exact prediction in the limit.

        Args:
          features: Features of new examples.
          count: Number of draws.
          seed: Seed of the draws.
        """
        x, mean = _extended(features), np.concatenate([self.head.kernel, np.asarray(self.head.bias)[None]])
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))[None]
        noise = np.random.default_rng(seed).normal(size=(count, len(root))) @ root.T
        return np.stack([softmax(x @ (mean + one.reshape(mean.shape))) for one in noise])


def gauss_newton(features: Float[ndarray, "N D"], head: Head) -> Float[ndarray, "P P"]:
    """The generalized Gauss-Newton matrix of the summed cross-entropy in the weights of the last layer.

    sum_n (x_n x_n') kron (diag p_n - p_n p_n') with x_n the features and a 1. For a linear layer it is the Hessian.

    Args:
      features: Features of the training examples.
      head: Last layer.

    Raises:
      UserError: the layer has too many weights.

    Source: Schraudolph 2002, https://doi.org/10.1162/08997660260028683.

    Example:
      >>> gauss_newton(np.array([[2.0]]), Head(np.zeros((1, 2)), np.zeros(2)))[0].tolist()
      [1.0, -1.0, 0.5, -0.5]
    """
    x = _extended(features)
    p = softmax(head(features))
    N, D, K = *x.shape, p.shape[1]
    if D * K > _LARGEST:
        raise UserError(f"the last layer has {D * K:,} weights, {_LARGEST:,} at most; take an ensemble")
    products = np.einsum("nk,nd->ndk", p, x).reshape(N, D * K)
    whole = -(products.T @ products).reshape(D, K, D, K)
    for k in range(K):
        whole[:, k, :, k] += (x * p[:, k : k + 1]).T @ x
    return whole.reshape(D * K, D * K)


@ranges.checked(prior_precision=ranges.POSITIVE)
def laplace(
    features: Float[ndarray, "N D"], label: Int[ndarray, " N"], head: Head, prior_precision: float | None = None
) -> Laplace:
    """The Gaussian whose precision is the Gauss-Newton matrix plus that of the prior.

    Args:
      features: Features of the training examples, from `tap_head`.
      label: Their classes.
      head: Last layer, trained.
      prior_precision: Precision of the weights' prior; the one of the largest marginal likelihood when None.

    Raises:
      UserError: a label is no class, or the layer has too many weights.

    Source: Kristiadi, Hein and Hennig 2020, https://arxiv.org/abs/2002.10118; Daxberger et al. 2021,
    https://arxiv.org/abs/2106.14806.

    Example:
      >>> x = np.array([[-1.0], [1.0]])
      >>> found = laplace(x, np.array([0, 1]), Head(np.array([[-2.0, 2.0]]), np.zeros(2)), prior_precision=1.0)
      >>> near, far = found.probabilities(np.array([[1.0], [50.0]]))
      >>> bool(near[1] < 0.98 and far[1] < 1 - 1e-4)  # 1 to the last digit without the Laplace approximation
      True
    """
    label = labels_of(label, np.shape(head.kernel)[1], len(features))
    z = head(features)
    likelihood = float(np.sum(z[np.arange(len(label)), label] - np.logaddexp.reduce(z, axis=1)))
    values, vectors = np.linalg.eigh(gauss_newton(features, head))
    values = np.maximum(values, 0)
    square = float(sum(np.sum(np.square(np.asarray(w, np.float64))) for w in head))

    def evidence(precision: ndarray) -> ndarray:
        shrunk = np.sum(np.log1p(values[None] / precision[:, None]), axis=1)
        return likelihood - precision * square / 2 - shrunk / 2

    tried = np.logspace(-6, 6, 241) if prior_precision is None else np.array([prior_precision], np.float64)
    told = evidence(tried)
    best = int(told.argmax())
    covariance = (vectors / (values + tried[best])[None]) @ vectors.T
    return Laplace(head, covariance, float(tried[best]), float(told[best]))
