"""The curvature of a mean loss: products with a matrix that is never formed, and what they tell of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.core.jax_compat import plain_operations
from deeplab.explain.examples.gradients import Losses, examples_in, summed

Product = Callable[[Any], Any]
"""A symmetric matrix, as a function of a pytree like the parameters."""


def hessian_vector_product(losses: Losses, params: Any, batch: Any, *, chunk: int | None = None) -> Product:
    """The Hessian of the mean loss of a batch, as a function v -> H v.

    Derivatives are taken backward twice, so that functions with a backward pass of their own have one, too.

    Args:
      losses: Function `(params, batch) -> [B]`.
      params: Pytree of the parameters.
      batch: Pytree of arrays [B, ...].
      chunk: Number of examples at once. When None, all, and the gradient is computed once for all products.

    Example:
      >>> product = hessian_vector_product(lambda w, x: (x @ w) ** 2 / 2, jnp.zeros(2), jnp.array([[1.0, 3.0]]))
      >>> product(jnp.array([1.0, 0.0])).tolist()
      [1.0, 3.0]
    """
    B, losses = examples_in(batch), plain_operations()(losses)

    def gradient(part: Any) -> Callable[[Any], Any]:
        return jax.grad(lambda p: losses(p, part).sum() / B)

    if chunk is None:
        pull = jax.vjp(gradient(batch), params)[1]
        return lambda v: pull(v)[0]
    return lambda v: summed(lambda part: jax.vjp(gradient(part), params)[1](v)[0], batch, chunk)


def gauss_newton_product(
    outputs: Callable[[Any, Any], Any], losses: Callable[[Any, Any], Array], params: Any, batch: Any
) -> Product:
    """The generalized Gauss-Newton matrix of the mean loss, J^T (d2 loss / d outputs2) J, as a function of v.

    It has no negative eigenvalue where the loss is convex in the outputs, as a cross-entropy in the logits is; there
    it is the Fisher information, too.

    Args:
      outputs: Function `(params, batch) -> outputs` of the model.
      losses: Function `(outputs, batch) -> [B]`.
      params: Pytree of the parameters.
      batch: Pytree of arrays [B, ...].

    Example:
      >>> outputs, losses = lambda w, x: x @ w, lambda y, x: y**2 / 2
      >>> gauss_newton_product(outputs, losses, jnp.zeros(1), jnp.array([[2.0], [0.0]]))(jnp.ones(1)).tolist()
      [2.0]

    Source: Schraudolph 2002, https://doi.org/10.1162/08997660260028683.
    """
    B, outputs = examples_in(batch), plain_operations()(outputs)
    out, pull = jax.vjp(lambda p: outputs(p, batch), params)
    # The transpose of the backward pass: forward derivatives would need those of every function that has its own.
    push = jax.linear_transpose(lambda u: pull(u)[0], out)
    curve = jax.vjp(jax.grad(lambda o: losses(o, batch).sum() / B), out)[1]
    return lambda v: pull(curve(push(v)[0])[0])[0]


class Spectrum(NamedTuple):
    """The spectrum of a matrix as random vectors see it: a quadrature of its density.

    Attributes:
      eigenvalues: Nodes, ascending, [probes, steps]; those at the ends are eigenvalues of the matrix.
      weights: Share of the spectrum at each node, [probes, steps]; they add up to 1 for each probe.
    """

    eigenvalues: Array
    weights: Array

    def density(self, at: Float[Array, " N"], width: float) -> Float[Array, " N"]:
        """The density at some values, smoothed by a Gaussian of this standard deviation; its integral is 1."""
        kernel = jax.scipy.stats.norm.pdf(at[:, None, None], self.eigenvalues[None], width)
        return jnp.mean(jnp.sum(kernel * self.weights[None], axis=-1), axis=-1)


def spectrum(product: Product, params: Any, *, key: jax.Array, steps: int = 64, probes: int = 1) -> Spectrum:
    """Eigenvalues at the ends of a spectrum, and its density: stochastic Lanczos quadrature.

    Each step is a product. The basis, steps times the parameters, is held, and kept orthogonal: without that, rounding
    shows eigenvalues again and again.

    Args:
      product: Symmetric matrix as a function, such as `hessian_vector_product(...)`.
      params: Pytree that the function takes, for its shapes.
      key: Key of the random vectors.
      steps: Number of Lanczos steps, at most the number of parameters.
      probes: Number of random vectors. One suffices for the largest eigenvalues.

    Raises:
      UserError: there are more steps than parameters.

    Example:
      >>> found = spectrum(lambda v: jnp.array([1.0, 2.0, 5.0]) * v, jnp.zeros(3), key=jax.random.key(0), steps=3)
      >>> found.eigenvalues.round(3).tolist()
      [[1.0, 2.0, 5.0]]

    Source: Golub and Welsch 1969; Ghorbani, Krishnan and Xiao 2019, https://arxiv.org/abs/1901.10159.
    """
    flat, unravel = ravel_pytree(params)
    if steps > flat.size:
        raise UserError(f"{steps} Lanczos steps for {flat.size} parameters; give steps={flat.size} at most")
    tiny = 100 * jnp.finfo(flat.dtype).eps

    def of_one(key: jax.Array) -> tuple[Array, Array]:
        start = jax.random.normal(key, flat.shape, flat.dtype)

        def step(carry: tuple[Array, Array, Array], i: Array) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
            basis, q, scale = carry
            basis = basis.at[i].set(q)
            w = ravel_pytree(product(unravel(q)))[0]
            along = jnp.matmul(q, w, precision="highest")
            for _ in range(2):  # once leaves the rounding of a difference of nearly equal vectors
                inside = jnp.matmul(basis, w, precision="highest")
                w = w - jnp.matmul(basis.T, inside, precision="highest")
            beta, scale = jnp.linalg.norm(w), jnp.maximum(scale, jnp.linalg.norm(w) + jnp.abs(along))
            ends = beta <= tiny * scale  # the random vector has met all eigenvalues that it can
            beta = jnp.where(ends, 0, beta)
            return (basis, jnp.where(ends, 0, w / jnp.where(ends, 1, beta)), scale), (along, beta)

        first = (jnp.zeros((steps, flat.size), flat.dtype), start / jnp.linalg.norm(start), jnp.zeros((), flat.dtype))
        diagonal, beside = jax.lax.scan(step, first, jnp.arange(steps))[1]
        values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1))
        return values, vectors[0] ** 2

    return Spectrum(*jax.lax.map(of_one, jax.random.split(key, probes)))


def sharpness(product: Product, params: Any, *, key: jax.Array, steps: int = 32) -> Float[Array, ""]:
    """The largest eigenvalue; gradient descent with a rate above 2 / sharpness of the Hessian is unstable.

    Args:
      product: Symmetric matrix as a function, such as `hessian_vector_product(...)`.
      params: Pytree that the function takes, for its shapes.
      key: Key of the random vector.
      steps: Number of products, at most the number of parameters.

    Example:
      >>> product = lambda v: jnp.array([4.0, 1.0]) * v
      >>> round(float(sharpness(product, jnp.zeros(2), key=jax.random.key(0), steps=2)), 3)
      4.0

    Source: Cohen et al. 2021, https://arxiv.org/abs/2103.00065.
    """
    return spectrum(product, params, key=key, steps=steps).eigenvalues.max()


class Estimate(NamedTuple):
    """A mean over random draws, and its standard error."""

    value: jax.Array
    error: jax.Array


def trace(product: Product, params: Any, *, key: jax.Array, probes: int = 64) -> Estimate:
    """The trace of a matrix, as the mean of v^T A v over random signs v, with its standard error.

    Args:
      product: Symmetric matrix as a function, such as `hessian_vector_product(...)`.
      params: Pytree that the function takes, for its shapes.
      key: Key of the signs.
      probes: Number of products, two at least.

    Example:
      >>> float(trace(lambda v: jnp.array([1.0, 2.0, 5.0]) * v, jnp.zeros(3), key=jax.random.key(0)).value)
      8.0

    Source: Hutchinson 1990, https://doi.org/10.1080/03610919008812866.
    """
    flat, unravel = ravel_pytree(params)

    def draw(key: jax.Array) -> Array:
        signs = jax.random.rademacher(key, flat.shape, flat.dtype)
        return jnp.matmul(signs, ravel_pytree(product(unravel(signs)))[0], precision="highest")

    draws = jax.lax.map(draw, jax.random.split(key, probes))
    return Estimate(draws.mean(), draws.std(ddof=1) / probes**0.5)
