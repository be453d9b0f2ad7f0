"""Scores of classes for conformal sets: LAC, APS, RAPS; and the sets.

A set holds the classes whose score is at most the threshold:
`sets = lac(p) <= threshold(true_scores(lac(p_calibration), label), alpha)`.
N examples, K classes.
"""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.conformal.coverage import Coverage, coverage_by_group
from deeplab.robust.inputs import labels_of, matrix_of, of_label, probabilities_of


def lac(probabilities: Float[ndarray, "N K"]) -> Float[ndarray, "N K"]:
    """1 - p_k: the smallest sets on average; some may be empty.

    Raises:
      UserError: a row does not sum to one.

    Source: Sadinle, Lei and Wasserman 2019, https://arxiv.org/abs/1609.00451.

    Example:
      >>> lac(np.array([[0.75, 0.25]])).tolist()
      [[0.25, 0.75]]
    """
    return 1 - probabilities_of(probabilities)


def aps(probabilities: Float[ndarray, "N K"], u: Float[ndarray, " N"]) -> Float[ndarray, "N K"]:
    """The summed probability of all likelier classes, plus u p_k: sets adapt to how hard an example is.

    Args:
      probabilities: Probabilities of the classes.
      u: Uniform numbers of the examples, see `uniforms`; with ones in their place sets are larger, and do not vary.

    Raises:
      UserError: a row does not sum to one, or u is not [N] of numbers in [0, 1].

    Source: Romano, Sesia and Candès 2020, https://arxiv.org/abs/2006.02544.

    Example:
      >>> aps(np.array([[0.5, 0.25, 0.25]]), np.array([1.0])).tolist()
      [[0.5, 0.75, 1.0]]
    """
    return raps(probabilities, u, penalty=0.0)


@ranges.checked(penalty=ranges.NATURAL, free=ranges.Range(at_least=0, whole=True))
def raps(
    probabilities: Float[ndarray, "N K"], u: Float[ndarray, " N"], penalty: float = 0.01, free: int = 5
) -> Float[ndarray, "N K"]:
    """The score of APS, plus penalty max(0, rank_k - free), where the likeliest class has the rank 1: smaller sets.

    Args:
      probabilities: Probabilities of the classes.
      u: Uniform numbers of the examples, see `uniforms`.
      penalty: Penalty of each further class.
      free: Number of classes without a penalty.

    Raises:
      UserError: a row does not sum to one, or u is not [N] of numbers in [0, 1].

    Source: Angelopoulos et al. 2021, https://arxiv.org/abs/2009.14193.

    Example:
      >>> raps(np.array([[0.5, 0.25, 0.25]]), np.array([1.0]), penalty=0.5, free=1).tolist()
      [[0.5, 1.25, 2.0]]
    """
    p, u = probabilities_of(probabilities), np.asarray(u, np.float64)
    if u.shape != (len(p),) or not ((u >= 0) & (u <= 1)).all():
        raise UserError(
            f"u has the shape {list(u.shape)}, expected [{len(p)}] numbers in [0, 1], such as uniforms(ids, key)"
        )
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    extra = penalty * np.maximum(np.arange(1, p.shape[1] + 1) - free, 0)
    scores = np.empty_like(p)
    np.put_along_axis(scores, order, before + u[:, None] * ranked + extra[None], axis=1)
    return scores


def uniforms(ids: Int[ndarray, " N"], key: jax.Array) -> Float[ndarray, " N"]:
    """Uniform numbers that belong to the examples, not to their place: the same id gives the same number.

    Args:
      ids: Numbers of the examples.
      key: Key of all draws; calibration and new examples, whose ids may be the same, need different ones.

    Example:
      >>> first, again = uniforms(np.arange(3), jax.random.key(0)), uniforms(np.array([2, 0]), jax.random.key(0))
      >>> bool(first[2] == again[0] and first[0] == again[1] and first.min() >= 0)
      True
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.asarray(ids, np.uint32))
    return np.asarray(jax.vmap(jax.random.uniform)(keys), np.float64)


def true_scores(scores: Float[ndarray, "N K"], label: Int[ndarray, " N"]) -> Float[ndarray, " N"]:
    """The scores of the true labels, which calibrate.

    Raises:
      UserError: the scores are not [N, K], or a label is no class.

    Example:
      >>> true_scores(np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([1, 0])).tolist()
      [0.75, 0.5]
    """
    scores = matrix_of(scores, "scores", "K")
    return of_label(scores, labels_of(label, scores.shape[1], len(scores)))


def set_coverage(
    sets: Bool[ndarray, "N K"], label: Int[ndarray, " N"], group: Shaped[ndarray, " N"] | None = None
) -> Coverage:
    """The share of sets that hold the label, and their mean size, of all examples and by group.

    Args:
      sets: Classes of each set.
      label: True labels.
      group: Group of each example, such as its patient or its label.

    Raises:
      UserError: a label is no class, or the sets hold anything but true and false, such as scores.

    Example:
      >>> found = set_coverage(np.array([[True, True], [True, False]]), np.array([1, 1]))
      >>> found.coverage.tolist(), found.size.tolist()
      ([0.5], [1.5])
    """
    sets = np.asarray(sets)
    if sets.ndim != 2 or sets.dtype != bool:
        raise UserError(
            f"sets are {sets.dtype}{list(sets.shape)}, expected booleans [N, K], such as scores <= threshold"
        )
    y = labels_of(label, sets.shape[1], len(sets))
    return coverage_by_group(of_label(sets, y), sets.sum(axis=1), group)
