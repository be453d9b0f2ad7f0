"""Gradients of each example, or what is wanted of each, in chunks of flat memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from deeplab.core.abstract.convolutions import canonical
from deeplab.core.errors import UserError

Losses = Callable[[Any, Any], Float[Array, " B"]]
"""`(params, batch) -> losses` of the examples of a batch, a pytree of arrays [B, ...]. The loss of one example depends
on no other: a batch norm has to use its running statistics."""

_NUMBERS = 2**24  # of the gradients that are held at once by default: 64 MiB in float32


def per_example_gradients(
    losses: Callable[[Any, Any], Any],
    params: Any,
    batch: Any,
    *,
    keep: Callable[[Any], Any] | None = None,
    chunk: int | None = None,
) -> Any:
    """The gradient of each example's loss: a pytree like `params`, each leaf with a leading axis [B, ...].

    For vectors in place of losses, [B, K], Jacobians [B, K, ...].

    Args:
      losses: Function `(params, batch) -> [B]`.
      params: Pytree of the parameters.
      batch: Pytree of arrays [B, ...].
      keep: Function of the gradient of one example, such as its norm, a projection, or a product; what it returns is
        stacked in place of the gradients, which are never held together.
      chunk: Number of examples whose gradients are held at once; as many as fit 64 MiB when None.

    Raises:
      UserError: the losses are not one for each example.

    Example:
      >>> losses = lambda w, batch: (batch["x"] @ w) ** 2 / 2
      >>> batch = {"x": jnp.array([[1.0, 0.0], [1.0, 2.0]])}
      >>> per_example_gradients(losses, jnp.ones(2), batch).tolist()
      [[1.0, 0.0], [3.0, 6.0]]
      >>> per_example_gradients(losses, jnp.ones(2), batch, keep=lambda g: g @ g).tolist()
      [1.0, 45.0]
    """
    size = examples_in(batch)
    shape = jax.eval_shape(losses, params, batch).shape
    if not shape or shape[0] != size:
        raise UserError(
            f"the losses have the shape {list(shape)}, expected one for each of the {size} examples: give a function "
            "(params, batch) -> [B] that does not average"
        )
    differentiate = jax.grad if len(shape) == 1 else jax.jacrev

    def of_one(example: Any) -> Any:
        one = jax.tree.map(lambda x: x[None], example)
        gradient = differentiate(lambda p: losses(p, one)[0])(params)
        return gradient if keep is None else keep(gradient)

    held = sum(leaf.size for leaf in jax.tree.leaves(params)) * math.prod(shape[1:])
    return in_chunks(jax.vmap(of_one), batch, chunk or max(1, _NUMBERS // held))


def gradient_products(
    losses: Callable[[Any, Any], Any], params: Any, directions: Any, batch: Any, *, chunk: int | None = None
) -> Float[Array, "C B"]:
    """Inner products of directions with the gradient of each example.

    Args:
      losses: Function `(params, batch) -> [B]`.
      params: Pytree of the parameters.
      directions: Pytree like `params`, each leaf with a leading axis [C, ...].
      batch: Pytree of arrays [B, ...].
      chunk: Number of examples whose gradients are held at once.

    Example:
      >>> losses = lambda w, x: (x @ w) ** 2 / 2
      >>> gradient_products(losses, jnp.ones(2), jnp.eye(2), jnp.array([[1.0, 0.0], [1.0, 2.0]])).tolist()
      [[1.0, 3.0], [0.0, 6.0]]
    """
    dot = jax.vmap(optax.tree.vdot, in_axes=(0, None))
    return per_example_gradients(losses, params, batch, keep=lambda g: dot(directions, g), chunk=chunk).T


class NoiseScale(NamedTuple):
    """How much the gradients of examples differ.

    Attributes:
      scale: The simple noise scale tr(S) / |G|^2, in examples: where a batch is much smaller, twice as many examples
        make a step nearly twice as good; where it is much larger, they are wasted. NaN where |G|^2 is not above 0.
      trace: tr(S), the variance of an example's gradient, summed over the parameters.
      squared_norm: |G|^2 of the expected gradient; without bias, so that it may be below 0.
    """

    scale: jax.Array
    trace: jax.Array
    squared_norm: jax.Array


def gradient_noise_scale(losses: Losses, params: Any, batch: Any, *, chunk: int | None = None) -> NoiseScale:
    """The simple gradient noise scale, from the gradients of B examples; both of its parts are without bias.

    tr(S) = B / (B - 1) (mean |g_b|^2 - |mean g_b|^2) and |G|^2 = |mean g_b|^2 - tr(S) / B.

    Args:
      losses: Function `(params, batch) -> [B]`.
      params: Pytree of the parameters.
      batch: Pytree of arrays [B, ...], two examples at least.
      chunk: Number of examples whose gradients are held at once.

    Example:
      >>> found = gradient_noise_scale(lambda w, x: x @ w, jnp.zeros(1), jnp.array([[1.0], [3.0]]))
      >>> float(found.trace), float(found.squared_norm)
      (2.0, 3.0)

    Source: McCandlish et al. 2018, https://arxiv.org/abs/1812.06162 (appendix A.1).
    """
    B = examples_in(batch)
    if B < 2:
        raise UserError(f"the noise of gradients was asked for of {B} example, expected two at least; give a batch")
    squares = per_example_gradients(losses, params, batch, keep=_squared_norm, chunk=chunk)
    mean = jax.tree.map(lambda x: x / B, summed(lambda b: jax.grad(lambda p: losses(p, b).sum())(params), batch, chunk))
    of_mean = _squared_norm(mean)
    trace = B / (B - 1) * (jnp.mean(squares) - of_mean)
    squared_norm = of_mean - trace / B
    return NoiseScale(jnp.where(squared_norm > 0, trace / squared_norm, jnp.nan), trace, squared_norm)


def empirical_ntk(
    outputs: Callable[[Any, Any], Any], params: Any, a: Any, b: Any = None, *, chunk: int | None = None
) -> Array:
    """The empirical neural tangent kernel J(a) J(b)^T: [A, B] of outputs [B], and [A, K, B, K] of outputs [B, K].

    Args:
      outputs: Function `(params, batch) -> [B]` or `[B, K]`.
      params: Pytree of the parameters.
      a: Pytree of arrays [A, ...]; its Jacobians are held together.
      b: Pytree of arrays [B, ...]; those of `a` when None.
      chunk: Number of examples of `b` whose Jacobians are held at once.

    Example:
      >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0]])
      >>> empirical_ntk(lambda w, x: x @ w, jnp.zeros(2), x).tolist()
      [[5.0, 2.0], [2.0, 1.0]]

    Source: Jacot, Gabriel and Hongler 2018, https://arxiv.org/abs/1806.07572.
    """
    scalars = len(jax.eval_shape(outputs, params, a).shape) == 1

    def flat(jacobian: Any) -> jax.Array:
        leaves = jax.tree.leaves(jacobian)
        rows = 1 if scalars else leaves[0].shape[0]
        return jnp.concatenate([leaf.reshape(rows, -1) for leaf in leaves], axis=1)  # [K, P]

    left = per_example_gradients(outputs, params, a, keep=flat, chunk=chunk)
    product = lambda j: jnp.einsum("akp,lp->akl", left, flat(j), precision="highest")  # noqa: E731
    kernel = per_example_gradients(outputs, params, a if b is None else b, keep=product, chunk=chunk)  # [B, A, K, K]
    return kernel[..., 0, 0].T if scalars else jnp.einsum("bakl->akbl", kernel)


def in_chunks(function: Callable[[Any], Any], batch: Any, chunk: int | None) -> Any:
    """Applies a function of a batch that treats its examples one by one to `chunk` of them at once; all when None."""
    size = examples_in(batch)
    if chunk is None or chunk >= size:
        return function(batch)
    parts, rest = _cut(batch, size, chunk)
    done = [jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.lax.map(canonical(function), parts))]
    done += [function(rest)] if size % chunk else []
    return jax.tree.map(lambda *x: jnp.concatenate(x), *done)


def summed(function: Callable[[Any], Any], batch: Any, chunk: int | None) -> Any:
    """The sum of `function` over chunks of a batch, of which one is held at once; all examples at once when None."""
    size = examples_in(batch)
    if chunk is None or chunk >= size:
        return function(batch)
    parts, rest = _cut(batch, size, chunk)
    first = jax.tree.map(lambda x: x[0], parts)
    total = function(rest) if size % chunk else jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, first)
    )  # fmt: skip

    @canonical
    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(part)), None

    return jax.lax.scan(add, total, parts)[0]


def _cut(batch: Any, size: int, chunk: int) -> tuple[Any, Any]:
    """Whole chunks [size // chunk, chunk, ...], and the examples that are left."""
    whole = size // chunk * chunk
    parts = jax.tree.map(lambda x: jnp.asarray(x)[:whole].reshape(-1, chunk, *jnp.shape(x)[1:]), batch)
    return parts, jax.tree.map(lambda x: x[whole:], batch)


def _squared_norm(tree: Any) -> jax.Array:
    return jnp.asarray(optax.tree.vdot(tree, tree))


def examples_in(batch: Any) -> int:
    """Number of examples in a batch.

    Raises:
      UserError: its arrays disagree.
    """
    sizes = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(batch)}
    if len(sizes) != 1:
        raise UserError(f"the arrays of the batch have {sorted(sizes)} examples, expected one number")
    return sizes.pop()
