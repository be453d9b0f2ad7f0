"""Measures of what is generated, from features of real and of generated examples, [N, D] each.

The features decide what a figure means: name the network with it. `dl.generate.classifier_features` takes those of a
classifier trained here; figures by Inception's are of another scale. All in float64, on the host.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Float

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.tasks.contract.pixels import DRAWN_BEYOND, in_units

Features = Float[np.ndarray, "N D"]


def _features(x: Any, least: int = 2) -> Features:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) < least or not x.size:
        examples = "two examples" if least == 2 else "one example"
        raise UserError(f"features are {list(x.shape)}, expected [N, D] of at least {examples}")
    if (bad := ~np.isfinite(x).all(axis=1)).any():
        raise UserError(f"features of {bad.sum()} of {len(x)} examples, such as {bad.argmax()}, are NaN or infinite")
    return x


def _both(real: Any, generated: Any, least: int = 2) -> tuple[Features, Features]:
    x, y = _features(real, least), _features(generated, least)
    if x.shape[1] != y.shape[1]:
        raise UserError(
            f"features {list(x.shape)} and {list(y.shape)} differ in size; take both by one network and layer"
        )
    return x, y


def fid(real: Any, generated: Any) -> float:
    """Frechet distance of two normal laws with the features' means m and covariances C, squared.

    |m - n|^2 + tr(C + E - 2 (C E)^(1/2)). It is biased upwards, the more the fewer examples there are.

    Args:
      real: Features [N, D] of real examples.
      generated: Features [M, D] of generated ones.

    Raises:
      UserError: Features of another shape, or NaN.

    Example:
      >>> fid([[0.0], [2.0]], [[1.0], [3.0]])
      1.0

    Source: Heusel et al. 2017, https://arxiv.org/abs/1706.08500.
    """
    laws = [(x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))) for x in _both(real, generated)]
    return frechet(*laws[0], *laws[1])


def frechet(mean: Any, covariance: Any, other_mean: Any, other_covariance: Any) -> float:
    """The squared distance of two normal laws; see `fid`.

    Example:
      >>> frechet([0.0], [[1.0]], [3.0], [[4.0]])  # 3^2 + (1 - 2)^2
      10.0
    """
    # The eigenvalues of C E are those of A E A with A = C^(1/2): symmetric, and so real and not negative.
    values, vectors = scipy.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))[None]) @ vectors.T
    cross = np.sqrt(np.maximum(scipy.linalg.eigvalsh(root @ other_covariance @ root), 0)).sum()
    apart = np.sum((np.asarray(mean) - np.asarray(other_mean)) ** 2)
    return float(max(apart + np.trace(covariance) + np.trace(other_covariance) - 2 * cross, 0.0))


@ranges.checked(points=ranges.Range(at_least=2, whole=True), smallest=ranges.Range(above=0, below=1))
def fid_infinity(real: Any, generated: Any, points: int = 15, smallest: float = 0.1, seed: int = 0) -> float:
    """The FID of infinitely many generated examples: the intercept of a line of FID against 1 / N.

    The bias of a finite number of real examples stays: give as many as there are, and compare at the same number.

    Args:
      real: Features [N, D] of real examples.
      generated: Features [M, D] of generated ones.
      points: Number of sizes at which the FID is measured.
      smallest: Smallest size, as a share of M.
      seed: Seed of the parts that are drawn.

    Raises:
      UserError: There are too few generated examples.

    Example:
      >>> x = np.random.default_rng(0).normal(size=(200, 2))
      >>> round(fid_infinity(x, x + 1.0, points=4), 1)  # 1 for each dimension
      2.2

    Source: Chong and Forsyth 2020, https://arxiv.org/abs/1911.07023; their sizes are 5,000 to 50,000.
    """
    generated, rng = _features(generated), np.random.default_rng(seed)
    sizes = np.linspace(max(2, smallest * len(generated)), len(generated), points).astype(int)
    if len(set(sizes)) < 2:
        raise UserError(f"{len(generated)} generated examples have no two sizes for a line; give more")
    found = [fid(real, generated[rng.choice(len(generated), size, replace=False)]) for size in sizes]
    return float(np.polyfit(1 / sizes, found, 1)[1])


def kid(real: Any, generated: Any, degree: int = 3) -> float:
    """Unbiased squared maximum mean discrepancy by the kernel (x y / D + 1)^degree; it may be below 0.

    Args:
      real: Features [N, D] of real examples.
      generated: Features [M, D] of generated ones.
      degree: Degree of the kernel.

    Example:
      >>> round(kid([[0.0], [2.0]], [[1.0], [3.0]]), 4)
      -121.0

    Source: Binkowski et al. 2018, https://arxiv.org/abs/1801.01401.
    """
    x, y = _both(real, generated)

    def within(x: Features) -> float:
        kernel = (x @ x.T / x.shape[1] + 1) ** degree
        return (kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1))

    return float(within(x) + within(y) - 2 * np.mean((x @ y.T / x.shape[1] + 1) ** degree))


class PrecisionRecall(NamedTuple):
    """How much of what is generated looks real, and how much of what is real is generated.

    Attributes:
      precision: Share of generated examples within the real ones.
      recall: Share of real examples within the generated ones.

    Example:
      >>> precision_recall([[0.0], [1.0], [8.0], [9.0]], [[0.0], [1.0]], neighbors=1)  # half of what is real is missing
      PrecisionRecall(precision=1.0, recall=0.5)
    """

    precision: float
    recall: float


@ranges.checked(neighbors=ranges.COUNT, chunk=ranges.COUNT)
def precision_recall(real: Any, generated: Any, neighbors: int = 3, chunk: int = 1024) -> PrecisionRecall:
    """Shares of examples that lie in a ball around one of the other kind, up to that one's k-th neighbor of its kind.

    Args:
      real: Features [N, D] of real examples.
      generated: Features [M, D] of generated ones.
      neighbors: k.
      chunk: Number of examples whose distances are held at a time.

    Raises:
      UserError: There are no k neighbors.

    Example:
      >>> found = precision_recall([[0.0], [1.0]], [[0.5], [9.0]], neighbors=1)
      >>> [float(x) for x in found]
      [0.5, 1.0]

    Source: Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991.
    """
    x, y = _both(real, generated)
    if (fewest := min(len(x), len(y))) <= neighbors:
        raise UserError(f"{fewest} examples have no neighbor {neighbors}; give {neighbors + 1} or more of each kind")

    def radii(x: Features) -> np.ndarray:
        return np.concatenate([np.partition(d, neighbors, axis=1)[:, neighbors] for d in _squares(x, x, chunk)])

    def inside(points: Features, centers: Features) -> float:
        reach = radii(centers)[None]
        return float(np.concatenate([(d <= reach).any(axis=1) for d in _squares(points, centers, chunk)]).mean())

    return PrecisionRecall(inside(y, x), inside(x, y))


def nearest(examples: Any, training: Any, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """The nearest training example of each, as its number [M], and their distance [M]: what was learnt by heart.

    Args:
      examples: Examples, or their features, [M, ...].
      training: Those of the training data, [N, ...].
      chunk: Number of examples whose distances are held at a time.

    Raises:
      UserError: There are none, their sizes differ, or one is NaN or infinite.

    Example:
      >>> nearest(np.array([[0.9], [5.0]]), np.array([[0.0], [1.0], [4.0]]))[0].tolist()
      [1, 2]
    """
    flat = (np.reshape(a, (len(a), math.prod(np.shape(a)[1:]))) for a in (examples, training))
    x, y = _both(*flat, least=1)
    parts = [(d.argmin(axis=1), np.sqrt(np.maximum(d.min(axis=1), 0))) for d in _squares(x, y, chunk)]
    numbers, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
    return numbers, distances


def _squares(x: Features, y: Features, chunk: int) -> Iterator[np.ndarray]:
    """Squared distances of some rows of x from all of y, [chunk, N] at a time."""
    sizes = np.sum(y**2, axis=1)[None]
    for start in range(0, len(x), chunk):
        part = x[start : start + chunk]
        yield np.maximum(np.sum(part**2, axis=1)[:, None] + sizes - 2 * part @ y.T, 0)


def classifier_features(run: Any, tap: str, images: Any, chunk: int = 256) -> Features:
    """What a trained classifier makes of images at one of its layers, [N, D].

    Args:
      run: Run of a classifier, from `dl.load` or `dl.fit`.
      tap: Name of the layer, such as "pool"; a map [h, w, D] is averaged over its places.
      images: Images [N, H, W, C] in [0, 1].
      chunk: Number of images at a time.

    Raises:
      UserError: The images are no floats in [0, 1].

    Example:
      >>> import types
      >>> import jax.numpy as jnp
      >>> import deeplab as dl
      >>> from deeplab.train.bind import BoundApply
      >>> model = dl.models.MLP(10, (4,))
      >>> params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
      >>> bound = lambda size: BoundApply(model, params, {}, jnp.arange(size), dl.Runtime().precision)
      >>> judge = types.SimpleNamespace(bound=bound)  # stands for a run, from `dl.fit` or `dl.load`
      >>> classifier_features(judge, "hidden1", np.zeros((3, 8, 8, 1)), chunk=2).shape
      (3, 4)
    """
    apply = run.bound(chunk)

    @jax.jit
    def features(params: Any, images: jax.Array) -> jax.Array:  # which would be constants, and folded
        found = apply.rebound(params=params).taps(images, names=(tap,))[1][tap]
        return found.reshape(len(images), -1, found.shape[-1]).mean(axis=1)

    images = np.asarray(in_units(images, "classifier_features", slack=DRAWN_BEYOND), np.float32)
    padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % chunk, axis=0)])
    parts = [np.asarray(features(apply.params, padded[i : i + chunk])) for i in range(0, len(padded), chunk)]
    return np.concatenate(parts)[: len(images)].astype(np.float64)
