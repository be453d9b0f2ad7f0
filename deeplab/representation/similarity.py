"""Similarity of two representations of the same examples: centered kernel alignment (CKA) of linear kernels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from deeplab.core.errors import UserError
from deeplab.representation.knn import deviations, rows_of


def cka(x: Float[ndarray, "N ..."], y: Float[ndarray, "N ..."], debiased: bool = True) -> float:
    """HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)) of features of the same N examples: 1 if one is the other, turned.

    Rotations and one common scale do not change it. Without the correction it tends to 1 for few examples of many
    dimensions, whatever they are; with it, to 0 for features that are independent, and it may be negative. It is NaN
    where all features of one are constants. It takes N D E operations for D and E dimensions, and no matrix of all
    pairs.

    Args:
      x: Features, of any shape for each example.
      y: Other features of the same examples, in the same order.
      debiased: Whether HSIC is its unbiased estimate, or the biased one.

    Raises:
      UserError: The numbers of examples differ, there are fewer than four, or a feature is NaN or infinite.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> x, turn = rng.normal(size=(50, 8)), np.linalg.qr(rng.normal(size=(8, 8)))[0]
      >>> round(cka(x, 3 * x @ turn), 6), abs(cka(x, rng.normal(size=(50, 8)))) < 0.2
      (1.0, True)

    Source: Kornblith et al. 2019, https://arxiv.org/abs/1905.00414; the unbiased estimate: Song et al. 2012,
      https://jmlr.org/papers/v13/song12a.html, equation 5.
    """
    x, y = map(rows_of, (x, y))
    if len(x) != len(y) or len(x) < 4:
        raise UserError(f"features of {len(x)} and of {len(y)} examples are compared; expected the same 4 or more")
    x, y = (np.where(deviations(z) > 0, z - z.mean(axis=0), 0) for z in (x, y))
    both, left, right = (_alignment(a, b, debiased) for a, b in ((x, y), (x, x), (y, y)))
    return float(both / np.sqrt(left * right)) if left > 0 and right > 0 else float("nan")


def _alignment(x: Float[ndarray, "N D"], y: Float[ndarray, "N E"], debiased: bool) -> float:
    """HSIC of centered features, but for a factor that depends on N alone.

    With centered features the rows of a kernel sum to 0, and without its diagonal to the negative diagonal: all sums of
    the unbiased estimate are sums of squared norms.
    """
    raw = float(np.sum(np.square(x.T @ y)))
    if not debiased:
        return raw
    N, r, s = len(x), np.sum(x**2, axis=1), np.sum(y**2, axis=1)
    return raw - N / (N - 2) * float(r @ s) + float(r.sum() * s.sum()) / ((N - 1) * (N - 2))
