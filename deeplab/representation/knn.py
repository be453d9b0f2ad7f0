"""Nearest neighbors, exact: of features, and the classes that they vote for.

N points, M queries, D dimensions, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError

Metric = Literal["l2", "cosine"]
"""Distance of two points: Euclidean, or 1 - cosine."""

_CHUNK = 2**25  # distances held at a time: 256 MB


class Neighbors(NamedTuple):
    """The nearest points of each query, the nearest first.

    Attributes:
      distances: Euclidean distances, or 1 - cosine.
      indices: Rows of the points.

    Example:
      >>> found = Neighbors(np.array([[0.1, 0.4]]), np.array([[7, 2]]))
      >>> found.indices[:, 0].tolist()  # the nearest
      [7]
    """

    distances: Float[ndarray, "M k"]
    indices: Int[ndarray, "M k"]


@ranges.checked(k=ranges.COUNT, metric=ranges.OneOf(Metric))
def neighbors(
    points: Float[ndarray, "N ..."],
    queries: Float[ndarray, "M ..."] | None = None,
    k: int = 1,
    metric: Metric = "l2",
) -> Neighbors:
    """The k nearest points of each query; without queries, those of each point, which is no neighbor of itself.

    Candidates are found by a product of matrices, and ordered by their distances; of points so far apart that the
    product's rounding may hide a neighbor, all that may be one are candidates.

    Args:
      points: Features to search.
      queries: Features to search for.
      k: Number of neighbors.
      metric: Distance: Euclidean, or 1 - cosine.

    Raises:
      UserError: There are not k points, or the sizes of the features differ.

    Example:
      >>> points = np.array([[0.0], [1.0], [5.0]])
      >>> neighbors(points, np.array([[0.9]]), k=2).indices.tolist(), neighbors(points).indices[:, 0].tolist()
      ([[1, 0]], [1, 0, 1])
    """
    own = queries is None
    points = _rows(points, metric)
    queries = points if queries is None else _rows(queries, metric)
    if points.shape[1] != queries.shape[1] or len(points) < k + own:
        raise UserError(
            f"{k} neighbors of features {list(queries.shape)} are sought among {list(points.shape)}; expected "
            f"{k + own} points or more, of the queries' size"
        )
    parts, around = _parts(len(queries), max(1, _CHUNK // len(points))), points - points.mean(axis=0)
    found = [_chunk(points, queries, around, rows, k, own) for rows in parts]
    distances, indices = (np.concatenate(part) for part in zip(*found, strict=True))
    return Neighbors(np.square(distances) / 2 if metric == "cosine" else distances, indices)


def rows_of(x: Float[ndarray, "N ..."], labels: Int[ndarray, " N"] | None = None) -> Float[ndarray, "N D"]:
    """Features as float64, a row for each example.

    Raises:
      UserError: There are none, one is NaN or infinite, or there is not one label for each example.
    """
    if np.size(x) == 0:
        raise UserError(f"features are {list(np.shape(x))}; expected one example or more, of one number or more each")
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    if (bad := ~np.isfinite(x).all(axis=1)).any():
        raise UserError(f"features of {bad.sum()} of {len(x)} examples, such as {bad.argmax()}, are NaN or infinite")
    if labels is not None and np.shape(labels) != (len(x),):
        raise UserError(f"features {list(x.shape)} have labels {list(np.shape(labels))}, expected [{len(x)}] classes")
    return x


def deviations(x: Float[ndarray, "N D"]) -> Float[ndarray, " D"]:
    """Standard deviation of each feature; 0 of a constant, where it is the rounding of the mean alone."""
    found = x.std(axis=0)
    return np.where(found > 1e-12 * np.abs(x).max(axis=0), found, 0)


def _rows(x: ndarray, metric: Metric) -> ndarray:
    x = rows_of(x)
    if metric == "cosine":  # |a - b|^2 = 2 (1 - cos) for vectors of length 1
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return x


def _parts(size: int, each: int) -> Iterator[ndarray]:
    for start in range(0, size, each):
        yield np.arange(start, min(start + each, size))


def _chunk(
    points: ndarray, queries: ndarray, around: ndarray, rows: ndarray, k: int, own: bool
) -> tuple[ndarray, ndarray]:
    """The nearest points of the queries `rows`; `around` is the points without their mean, where squares lose least."""
    near, sizes = queries[rows] - points.mean(axis=0), np.sum(around**2, axis=1)
    apart = near @ around.T  # in place: it is what takes memory
    apart *= -2
    apart += sizes[None]  # and |query|^2, the same for all points
    if own:
        apart[np.arange(len(rows)), rows] = np.inf
    count = min(2 * k + 8, len(points) - own)
    candidates = np.argpartition(apart, count - 1, axis=1)[:, :count]
    found = [_ordered(points, q, c, k) for q, c in zip(queries[rows], candidates, strict=True)]
    # Among points far apart, rounding may have left a neighbor out: a row is sure if what it left out is farther, by
    # more than the rounding of a product, than its k-th candidate.
    length, last = np.linalg.norm(near, axis=1), np.array([distances[-1] for distances, _ in found])
    rounding = (points.shape[1] + 8) * np.finfo(apart.dtype).eps * (length + np.sqrt(sizes.max())) ** 2
    reach = last**2 - length**2 + rounding
    for i in np.flatnonzero(apart[np.arange(len(rows)), candidates[:, -1]] <= reach):
        found[i] = _ordered(points, queries[rows[i]], np.flatnonzero(apart[i] <= reach[i]), k)
    distances, indices = (np.stack(part) for part in zip(*found, strict=True))
    return distances, indices


def _ordered(points: ndarray, query: ndarray, candidates: ndarray, k: int) -> tuple[ndarray, ndarray]:
    distances = np.linalg.norm(points[candidates] - query, axis=1)
    order = np.lexsort((candidates, distances))[:k]
    return distances[order], candidates[order]


@ranges.checked(temperature=ranges.POSITIVE)
def knn_predict(
    points: Float[ndarray, "N ..."],
    labels: Int[ndarray, " N"],
    queries: Float[ndarray, "M ..."] | None = None,
    k: int = 20,
    metric: Metric = "cosine",
    temperature: float | None = None,
) -> Int[ndarray, " M"]:
    """The class that most of the k nearest points have; of several, that of the nearest of their points.

    Args:
      points: Features of known classes.
      labels: Classes of the points.
      queries: Features to classify; when None the points, each by the others.
      k: Number of neighbors.
      metric: Distance: Euclidean, or 1 - cosine.
      temperature: Temperature T of the votes, exp(-distance / T); each neighbor has one vote when None.

    Raises:
      UserError: There are not k points, the sizes of the features differ, or there is not one label for each point.

    Source: Wu et al. 2018, https://arxiv.org/abs/1805.01978, section 3.4 (with temperature).

    Example:
      >>> x = np.array([[0.0], [0.1], [1.0], [1.1]])
      >>> knn_predict(x, np.array([0, 0, 1, 1]), np.array([[0.2], [0.9]]), k=3, metric="l2").tolist()
      [0, 1]
    """
    found = neighbors(rows_of(points, labels), queries, k, metric)
    classes, known = np.unique(labels, return_inverse=True)
    voted = known[found.indices]  # [M, k]
    nearest = found.distances[:, :1]
    votes = np.ones_like(found.distances) if temperature is None else np.exp((nearest - found.distances) / temperature)
    total = np.zeros((len(voted), len(classes)))
    np.add.at(total, (np.arange(len(voted))[:, None], voted), votes)
    most = np.take_along_axis(total == total.max(axis=1, keepdims=True), voted, 1)
    return classes[voted[np.arange(len(voted)), most.argmax(axis=1)]]
