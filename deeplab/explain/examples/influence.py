"""Scores of training examples for predictions, [num_test, num_train]: how much each has lowered the loss of each.

All have one signature, `method(losses, params, train, test, ...)`, and one sign: a score above 0 says that the training
example helps, so that the loss of the test example would be larger without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.core.precision import exact
from deeplab.explain.curvature import Product, hessian_vector_product
from deeplab.explain.examples.gradients import Losses, gradient_products, in_chunks, per_example_gradients

Solve = Callable[[Any], Any]
"""An inverse as a function of a pytree like the parameters."""

Scores = Float[Array, "T N"]


def gradient_similarity(
    losses: Losses, params: Any, train: Any, test: Any, *, cosine: bool = False, chunk: int | None = None
) -> Scores:
    """Inner products of the gradients of test and training examples: one term of TracIn, and a baseline.

    Args:
      losses: Function `(params, batch) -> [B]`.
      params: Pytree of the parameters.
      train: Training examples, a pytree of arrays [N, ...].
      test: Test examples, a pytree of arrays [T, ...].
      cosine: Whether gradients are divided by their norms first; one of norm 0 has the cosine 0 with any.
      chunk: Number of test examples, and of training examples, whose gradients are held at once.

    Example:
      >>> losses = lambda w, x: (x @ w) ** 2 / 2
      >>> train, test = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[3.0, 0.0]])
      >>> gradient_similarity(losses, jnp.ones(2), train, test).tolist()
      [[9.0, 0.0]]
    """
    products = _scores(losses, params, train, test, lambda g: g, chunk)
    if not cosine:
        return products
    left, right = (
        per_example_gradients(losses, params, part, keep=optax.tree.norm, chunk=chunk) for part in (test, train)
    )
    norms = left[:, None] * right[None]
    return jnp.where(norms > 0, products / jnp.where(norms > 0, norms, 1), 0)


def influence(
    losses: Losses, params: Any, train: Any, test: Any, *, solve: Solve | None = None, chunk: int | None = None
) -> Scores:
    """Influence functions: g_test^T (H + damping)^-1 g_train, H the Hessian of the mean training loss.

    Without training example n the loss of a test example grows by its score / N, to first order, where the parameters
    minimize the mean loss (with damping / 2 |params|^2 added to it).

    Args:
      losses: Function `(params, batch) -> [B]`.
      params: Pytree of the parameters.
      train: Training examples, a pytree of arrays [N, ...].
      test: Test examples, a pytree of arrays [T, ...].
      solve: Inverse that is applied to each test gradient, such as `conjugate_gradients(...)` or `exact_solve(...)` of
        the Gauss-Newton matrix of a network, whose Hessian has negative eigenvalues. When None, conjugate gradients
        with the Hessian and a damping of 1e-3.
      chunk: Number of test examples, and of training examples, whose gradients are held at once.

    Example:
      >>> losses = lambda w, x: (x @ w - 1) ** 2 / 2
      >>> influence(losses, jnp.zeros(2), jnp.eye(2), jnp.array([[1.0, 0.0]])).round(2).tolist()
      [[2.0, 0.0]]

    Source: Koh and Liang 2017, https://arxiv.org/abs/1703.04730.
    """
    if solve is None:
        solve = conjugate_gradients(hessian_vector_product(losses, params, train))
    return _scores(losses, params, train, test, solve, chunk)


def self_influence(
    losses: Losses, params: Any, train: Any, *, solve: Solve | None = None, chunk: int | None = None
) -> Float[Array, " N"]:
    """The score of each training example for itself: large for what is unlike the others, or labeled wrongly.

    Args:
      losses: Function `(params, batch) -> [B]`.
      params: Pytree of the parameters.
      train: Training examples, a pytree of arrays [N, ...].
      solve: Inverse, as in `influence`; none when None, as in TracIn.
      chunk: Number of examples whose gradients are held at once.

    Example:
      >>> losses = lambda w, x: (x @ w) ** 2 / 2
      >>> self_influence(losses, jnp.ones(2), jnp.array([[1.0, 0.0], [1.0, 2.0]])).tolist()
      [1.0, 45.0]
    """

    def of_one(gradient: Any) -> jax.Array:
        return jnp.asarray(optax.tree.vdot(gradient, gradient if solve is None else solve(gradient)))

    return per_example_gradients(losses, params, train, keep=of_one, chunk=chunk)


def tracin(
    losses: Losses,
    checkpoints: Sequence[Any],
    train: Any,
    test: Any,
    *,
    rates: Sequence[float] | None = None,
    chunk: int | None = None,
) -> Scores:
    """TracIn: the sum over checkpoints of their learning rate times the inner products of gradients.

    Args:
      losses: Function `(params, batch) -> [B]`.
      checkpoints: Parameters at some steps of a training, a sequence of pytrees.
      train: Training examples, a pytree of arrays [N, ...].
      test: Test examples, a pytree of arrays [T, ...].
      rates: Learning rate at each checkpoint; all 1 when None.
      chunk: Number of test examples, and of training examples, whose gradients are held at once.

    Raises:
      UserError: there are no checkpoints, or not one rate for each.

    Example:
      >>> losses = lambda w, x: (x @ w) ** 2 / 2
      >>> x = jnp.array([[1.0, 0.0], [1.0, 2.0]])
      >>> tracin(losses, [jnp.ones(2)], x, x[:1]).tolist()
      [[1.0, 3.0]]

    Source: Pruthi et al. 2020, https://arxiv.org/abs/2002.08484 (TracInCP).
    """
    rates = [1.0] * len(checkpoints) if rates is None else rates
    if not checkpoints or len(rates) != len(checkpoints):
        raise UserError(f"{len(rates)} rates for {len(checkpoints)} checkpoints; give one for each, and one at least")
    found = [_scores(losses, p, train, test, lambda g: g, chunk) * r for p, r in zip(checkpoints, rates, strict=True)]
    return sum(found[1:], found[0])


def trak(
    losses: Losses,
    models: Sequence[Any],
    train: Any,
    test: Any,
    *,
    key: jax.Array,
    size: int = 512,
    ridge: float = 1e-4,
    chunk: int | None = None,
) -> Scores:
    """TRAK: influence in the linear model of randomly projected gradients, averaged over several trained models.

    With p the probability of the label, the features phi are projected gradients of the margin log(p / (1 - p)), and
    a score is the mean over models of phi_test^T (Phi^T Phi)^-1 phi_train, times the mean of 1 - p of the training
    example. Sums of scores over a subset predict the margin, and so the order of the loss, after training on it.

    Args:
      losses: Function `(params, batch) -> [B]` of losses -log p.
      models: Parameters of models trained alike with other seeds, a sequence of pytrees.
      train: Training examples, a pytree of arrays [N, ...].
      test: Test examples, a pytree of arrays [T, ...].
      key: Key of the projections.
      size: Number of projected features; below the number of training examples.
      ridge: Number added to the eigenvalues of Phi^T Phi, as a part of their mean.
      chunk: Number of examples whose gradients are held at once.

    Raises:
      UserError: there are no models.

    Example:
      >>> losses = lambda w, batch: jnp.logaddexp(0.0, -batch["y"] * (batch["x"] @ w))  # -log p of a logistic model
      >>> train = {"x": jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), "y": jnp.array([1.0, 1.0, -1.0])}
      >>> test = {"x": jnp.array([[2.0, 0.0]]), "y": jnp.ones(1)}
      >>> scores = trak(losses, [jnp.ones(2)], train, test, key=jax.random.key(0), size=4)
      >>> (scores[0] > 0.1).tolist()  # the second example tells nothing of the feature of the test example
      [True, False, True]

    Source: Park et al. 2023, https://arxiv.org/abs/2303.14186 (equation 17).
    """
    if not models:
        raise UserError("trak was given no models; give the parameters of one at least, and better of ten")

    def margin(params: Any, batch: Any) -> jax.Array:
        loss = jnp.maximum(losses(params, batch), 1e-6)  # a loss that has rounded to 0 has no margin
        return -loss - jnp.log(-jnp.expm1(-loss))

    kernels, wrong = [], []
    for k, params in zip(jax.random.split(key, len(models)), models, strict=True):
        project = sketch(k, params, size)
        features, tested = (
            per_example_gradients(margin, params, part, keep=project, chunk=chunk) for part in (train, test)
        )
        kernels.append(_regressed(tested, features, ridge))
        wrong.append(-jnp.expm1(-in_chunks(lambda part: losses(params, part), train, chunk)))  # noqa: B023
    return jnp.mean(jnp.stack(kernels), axis=0) * jnp.mean(jnp.stack(wrong), axis=0)[None]


@exact
def _regressed(tested: Float[Array, "T D"], features: Float[Array, "N D"], ridge: float) -> Scores:
    """Predictions for test examples by ridge regression on each training example."""
    gram, size = features.T @ features, features.shape[1]
    gram += ridge * jnp.trace(gram) / size * jnp.eye(size)
    return tested @ jnp.linalg.solve(gram, features.T)


def sketch(key: jax.Array, params: Any, size: int) -> Callable[[Any], Float[Array, " size"]]:
    """A random projection that keeps inner products in the mean, without a matrix: each entry, with a random sign, is
    added to one of `size` sums.

    Args:
      key: Key of the signs and of the places.
      params: Pytree whose shapes are projected.
      size: Number of sums; the variance of an inner product is about |a|^2 |b|^2 / size.

    Source: Charikar, Chen and Farach-Colton 2002, https://doi.org/10.1007/3-540-45465-9_59 (count sketch).
    """
    count = ravel_pytree(params)[0].size
    signs_key, places_key = jax.random.split(key)
    signs, places = jax.random.rademacher(signs_key, (count,)), jax.random.randint(places_key, (count,), 0, size)
    return lambda tree: jax.ops.segment_sum(ravel_pytree(tree)[0] * signs, places, size)


def conjugate_gradients(product: Product, damping: float = 1e-3, *, iterations: int = 200, tol: float = 1e-4) -> Solve:
    """An approximate inverse of product + damping, by conjugate gradients; it needs a positive matrix.

    NaN where the equations are not solved to 1 %: the damping is then below the size of a negative eigenvalue, or
    there were too few iterations.

    Args:
      product: Symmetric matrix as a function.
      damping: Number added to its diagonal.
      iterations: Largest number of products.
      tol: Relative residual at which it ends.

    Example:
      >>> solve = conjugate_gradients(lambda v: 2 * v, damping=0.0, iterations=4)
      >>> solve(jnp.ones(2)).round(3).tolist()
      [0.5, 0.5]
    """

    def damped(v: Any) -> Any:
        return jax.tree.map(lambda a, b: a + damping * b, product(v), v)

    def solve(gradient: Any) -> Any:
        found, _ = jax.scipy.sparse.linalg.cg(damped, gradient, tol=tol, maxiter=iterations)
        left = optax.tree.norm(jax.tree.map(jnp.subtract, damped(found), gradient))
        solved = left <= max(1e-2, tol) * optax.tree.norm(gradient)
        return jax.tree.map(lambda x: jnp.where(solved, x, jnp.nan), found)

    return solve


@exact
def exact_solve(product: Product, params: Any, damping: float = 1e-3) -> Solve:
    """The inverse of product + damping, from the matrix itself: for some thousands of parameters.

    Args:
      product: Symmetric matrix as a function.
      params: Pytree that the function takes, for its shapes.
      damping: Number added to its diagonal.

    Example:
      >>> solve = exact_solve(lambda v: 2 * v, jnp.zeros(2), damping=0.0)
      >>> solve(jnp.ones(2)).round(3).tolist()
      [0.5, 0.5]
    """
    flat, unravel = ravel_pytree(params)
    identity = jnp.eye(flat.size, dtype=flat.dtype)
    matrix = jax.lax.map(lambda v: ravel_pytree(product(unravel(v)))[0], identity, batch_size=64) + damping * identity
    factors = jax.scipy.linalg.lu_factor(matrix)
    return lambda gradient: unravel(jax.scipy.linalg.lu_solve(factors, ravel_pytree(gradient)[0]))


def _scores(
    losses: Losses, params: Any, train: Any, test: Any, left: Callable[[Any], Any], chunk: int | None
) -> Scores:
    """Inner products of `left` of the gradient of each test example with that of each training example."""

    def of_some(part: Any) -> jax.Array:
        directions = per_example_gradients(losses, params, part, keep=left, chunk=chunk)
        return gradient_products(losses, params, directions, train, chunk=chunk)

    return in_chunks(of_some, test, chunk)
