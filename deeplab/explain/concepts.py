"""Concepts: directions in the activations of a layer, what a score owes to them, and whether that is chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError


def concept_vector(concept: Any, others: Any, *, ridge: float = 1e-2) -> Array:
    """The unit vector that points from other activations to those of a concept: the normal of a linear classifier.

    The classifier is ridge regression of +1 and -1, in closed form.

    Args:
      concept: Activations of examples that show the concept, [N, ...].
      others: Activations of other examples, [M, ...].
      ridge: Penalty of the weights, as a part of the mean eigenvalue of the covariance.

    Returns:
      Unit vector in the shape of one activation.

    Example:
      >>> concept_vector(jnp.array([[2.0, 0.0], [2.0, 1.0]]), jnp.array([[0.0, 0.0], [0.0, 1.0]])).round(3).tolist()
      [1.0, 0.0]

    Source: Kim et al. 2018, https://arxiv.org/abs/1711.11279.
    """
    concept, others = jnp.asarray(concept), jnp.asarray(others)
    if concept.shape[1:] != others.shape[1:]:
        raise UserError(
            f"activations of the concept are {list(concept.shape[1:])} and of the others {list(others.shape[1:])}; "
            "expected those of one layer"
        )
    x = jnp.concatenate([concept.reshape(len(concept), -1), others.reshape(len(others), -1)])
    y = jnp.concatenate([jnp.ones(len(concept)), -jnp.ones(len(others))])
    x, y = x - x.mean(axis=0, keepdims=True), y - y.mean()
    gram = x @ x.T  # [N + M, N + M]: activations are more than examples
    size = jnp.trace(gram) / min(x.shape)
    vector = x.T @ jnp.linalg.solve(gram + (ridge * size + jnp.finfo(x.dtype).tiny) * jnp.eye(len(x)), y)
    return (vector / jnp.linalg.norm(vector)).reshape(concept.shape[1:])


def sensitivity(
    score: Callable[[Any], Float[Array, " B"]], activations: Any, vectors: Float[Array, "C ..."]
) -> Float[Array, "C B"]:
    """The derivative of each example's score along each concept vector.

    Args:
      score: Function from activations [B, ...] to a score for each example, [B], such as the rest of a network: `rest`
        of `deeplab.explain.split`, and a class of its outputs.
      activations: Activations of the examples, [B, ...].
      vectors: Concept vectors [C, ...].

    Example:
      >>> sensitivity(lambda h: (h**2).sum(axis=1), jnp.array([[1.0, -2.0]]), jnp.eye(2)).tolist()
      [[2.0], [-4.0]]
    """
    gradients = jax.grad(lambda h: score(h).sum())(activations)
    return vectors.reshape(len(vectors), -1) @ gradients.reshape(len(gradients), -1).T


def tcav(
    score: Callable[[Any], Float[Array, " B"]], activations: Any, vectors: Float[Array, "C ..."]
) -> Float[Array, " C"]:
    """The fraction of examples whose score grows along each concept vector.

    Args:
      score: Function from activations [B, ...] to a score for each example, [B].
      activations: Activations of the examples of a class, [B, ...].
      vectors: Concept vectors [C, ...].

    Example:
      >>> tcav(lambda h: h[:, 0] * h[:, 1], jnp.array([[1.0, -2.0], [1.0, 3.0]]), jnp.eye(2)).tolist()
      [0.5, 1.0]
    """
    return jnp.mean(sensitivity(score, activations, vectors) > 0, axis=1)


class ConceptTest(NamedTuple):
    """Whether a class depends on a concept.

    Attributes:
      score: TCAV score of the concept, the mean over its vectors.
      null: Scores of random concepts, each the mean over its vectors, [R].
      p: Two-sided p-value of the concept's mean score, as one more draw of the random concepts' scores.
      p_of_vectors: Two-sided p-value of Welch's test between the scores of the concept's vectors and those of random
        ones, as in the paper. They share the concept's examples, so that it is far too small.
    """

    score: Array
    null: Array
    p: Array
    p_of_vectors: Array


def concept_test(
    score: Callable[[Any], Float[Array, " B"]],
    activations: Any,
    concept: Any,
    randoms: Any,
    *,
    ridge: float = 1e-2,
) -> ConceptTest:
    """TCAV with its significance: the concept against random concepts, which are made in the same way.

    A vector is trained between the concept and each of the random sets, and one between any two random sets. The null
    hypothesis is that the concept is one more random set.

    Args:
      score: Function from activations [B, ...] to a score for each example, [B].
      activations: Activations of the examples of a class, [B, ...].
      concept: Activations of examples that show the concept, [N, ...].
      randoms: Activations of sets of random examples, [R, N, ...]; ten sets or more.
      ridge: Penalty of the classifiers, as in `concept_vector`.

    Raises:
      UserError: there are fewer than three random sets.

    Example:
      >>> activations, concept, other = jnp.ones((1, 2)), jnp.array([[4.0, 0.0], [4.0, 1.0]]), jnp.eye(2)
      >>> found = concept_test(lambda h: h[:, 0], activations, concept, jnp.stack([other, -other, other[::-1] + 1]))
      >>> found.score.item(), bool(found.p < 0.05)  # three random sets are too few to tell
      (1.0, False)

    Source: Kim et al. 2018, https://arxiv.org/abs/1711.11279 (section 3.6).
    """
    R = len(randoms)
    if R < 3:
        raise UserError(f"concept_test was given {R} random sets, expected three at least, and better twenty")

    def against(one: Any) -> Array:
        """Scores of the vectors between a set and each random one, [R]."""
        vectors = jax.vmap(lambda other: concept_vector(one, other, ridge=ridge))(randoms)
        return tcav(score, activations, vectors)

    own, between = against(concept), jax.lax.map(against, jnp.asarray(randoms))  # [R], [R, R]
    others = ~jnp.eye(R, dtype=bool)  # of a set and itself there is no classifier
    null = jnp.mean(between, axis=1, where=others)
    p = _two_sided(own.mean() - null.mean(), null.var(ddof=1) * (1 + 1 / R), R - 1)
    pairs = between[jnp.triu_indices(R, 1)]
    a, b = own.var(ddof=1) / R, pairs.var(ddof=1) / len(pairs)
    freedom = (a + b) ** 2 / (a**2 / (R - 1) + b**2 / (len(pairs) - 1))
    return ConceptTest(own.mean(), null, p, _two_sided(own.mean() - pairs.mean(), a + b, freedom))


def _two_sided(difference: Array, variance: Array, freedom: Any) -> Array:
    """Two-sided p-value of Student's t; 1 where there is no difference, though all scores may be equal."""
    squared, freedom = difference**2 / variance, jnp.where(variance > 0, freedom, 1)
    p = jax.scipy.special.betainc(freedom / 2, 0.5, freedom / (freedom + squared))
    equal = jnp.abs(difference) <= 4 * jnp.finfo(p.dtype).eps  # but for the rounding of means of fractions
    return jnp.where(equal, 1.0, p)
