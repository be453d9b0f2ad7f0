"""The gradient along a path from a baseline to the input."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.core.precision import exact
from deeplab.explain.attribution import (
    Attribution,
    Target,
    baseline_of,
    check_floating,
    checked,
    count_of,
    drawn,
    scored,
    slope,
    summed,
)
from deeplab.explain.chunks import averaged, total

Path = Callable[[Any, Any], Callable[[Any], Any]]
"""From the inputs and their baseline to the path between them: a function from 0 to 1 to a point."""

Nodes = int | tuple[Any, Any]
"""Number of Gauss-Legendre nodes; or the points between 0 and 1 and the weights of any other quadrature."""

_MOST = 4096


def straight(x: Any, base: Any) -> Callable[[Any], Any]:
    """The straight line from a baseline to the input.

    Example:
      >>> straight(jnp.array([4.0]), jnp.array([0.0]))(0.25).tolist()
      [1.0]
    """
    return lambda alpha: jax.tree.map(lambda a, b: b + alpha * (a - b), x, base)


def blurred(deviation: float, axes: Sequence[int] = (1, 2)) -> Path:
    """The path of Gaussian blur that vanishes: from the input blurred by `deviation` entries to the input.

    The baseline has no part in it.

    Args:
      deviation: Standard deviation of the blur at its begin, in entries.
      axes: Axes that are blurred.

    Example:
      >>> x = jnp.array([[0.0, 0.0, 1.0, 0.0, 0.0]])
      >>> point = blurred(1.0, axes=(1,))(x, None)
      >>> [round(float(v), 2) for v in point(0.0)[0]], point(1.0)[0].tolist()
      ([0.08, 0.26, 0.4, 0.26, 0.08], [0.0, 0.0, 1.0, 0.0, 0.0])

    Source: Xu, Venugopalan and Sundararajan 2020, https://arxiv.org/abs/2004.03383
    """

    def path(x: Any, base: Any) -> Callable[[Any], Any]:
        del base
        return lambda alpha: jax.tree.map(lambda leaf: _blur(leaf, deviation * (1 - alpha), axes), x)

    return path


@exact
def integrated_gradients(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    nodes: Nodes = 64,
    tol: float | None = None,
    path: Path = straight,
    chunk: int | None = None,
) -> Attribution:
    """The gradient along a path from the baseline, which adds up to the difference of the score.

    values = integral of grad f(p(a)) p'(a) da from 0 to 1: of the line, (x - baseline) times the mean gradient.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      nodes: Number of points at which the gradient is taken; or points and weights.
      tol: Largest gap of an example, in units of the score: the nodes are doubled until it is met. Not under `jit`.
      path: Path from the baseline to the input.
      chunk: Number of points at a time; by the size of what f computes when None.

    Raises:
      UserError: an input is not floating-point, the baseline does not fit it, or the result is not finite.

    Example:
      >>> found = integrated_gradients(lambda x: x[:, 0] * x[:, 1], jnp.array([[2.0, 3.0]]), 0.0)
      >>> found.values.round(4).tolist()
      [[3.0, 3.0]]

    Source: Sundararajan, Taly and Yan 2017, https://arxiv.org/abs/1703.01365
    """
    base = baseline_of(baseline, x)
    score, args = scored(f, target, args)
    points, grads = path(x, base), slope(score, args)
    difference = score(points(1.0), *args) - score(points(0.0), *args)

    def step(row: Any) -> Any:
        point, move = jax.jvp(points, (row[0],), (jnp.ones_like(row[0]),))
        return jax.tree.map(lambda m, g: row[1] * m * g, move, grads(point))

    while True:
        values = total(step, quadrature(nodes, x), chunk)
        found = checked(Attribution(values, summed(values) - difference))
        if tol is None or isinstance(nodes, (tuple, list)) or _met(found.gap, tol, nodes):
            return found
        nodes *= 2


def expected_gradients(
    f: Callable[..., Any],
    x: Any,
    references: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    key: jax.Array | None = None,
    draws: int = 128,
    chunk: int | None = None,
) -> Attribution:
    """Integrated gradients in the mean over baselines that are drawn; also known as GradientSHAP.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      references: Examples [R, ...] of which each draw takes one; or a function from a key to one, without that axis.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      key: Key of the draws, which all examples share.
      draws: Number of points, each with a baseline of its own.
      chunk: Number of draws at a time; by the size of what f computes when None.

    Returns:
      Values with their standard error; `gap` is to the mean difference from the baselines that were drawn.

    Raises:
      UserError: there is no key, an input is not floating-point, or the result is not finite.

    Example:
      >>> f, x = lambda x: x.sum(axis=1), jnp.array([[1.0, 2.0]])
      >>> expected_gradients(f, x, jnp.zeros((3, 2)), key=jax.random.key(0), draws=4).values.round(3).tolist()
      [[1.0, 2.0]]

    Source: Erion et al. 2021, https://arxiv.org/abs/1906.10670; Lundberg and Lee 2017,
    https://arxiv.org/abs/1705.07874
    """
    check_floating(x)
    score, args = scored(f, target, args)
    count = None if callable(references) else _number_of(references, x)

    def one(key: jax.Array) -> tuple[Any, jax.Array]:
        which, where = jax.random.split(key)
        row = jax.random.randint(which, (), 0, count) if count else None
        drawn = references(which) if row is None else jax.tree.map(lambda leaf: leaf[row], references)
        base = baseline_of(drawn, x)
        point = straight(x, base)(jax.random.uniform(where))
        values = jax.tree.map(lambda a, b, g: (a - b) * g, x, base, slope(score, args)(point))
        return values, score(base, *args)

    (values, at_base), (error, _) = averaged(one, drawn(key, draws), chunk)
    return checked(Attribution(values, summed(values) - (score(x, *args) - at_base), error))


def quadrature(nodes: Nodes, x: Any, low: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Points from `low` to 1 and their weights, in the precision of the inputs.

    Raises:
      UserError: there is no node, or not a weight for each point.
    """
    if not isinstance(nodes, (tuple, list)):
        points, weights = np.polynomial.legendre.leggauss(count_of("nodes", nodes))
        nodes = low + (1 - low) * (points + 1) / 2, (1 - low) * weights / 2
    dtype = jnp.result_type(*jax.tree.leaves(x))
    points, weights = (jnp.asarray(row, dtype) for row in nodes)
    if points.ndim != 1 or points.shape != weights.shape:
        raise UserError(f"there are points {points.shape} and weights {weights.shape}; give one weight for each point")
    return points, weights


def _number_of(references: Any, x: Any) -> int:
    """The number R of references [R, ...], each of which is like an example.

    Raises:
      UserError: they have not the inputs' structure, or a reference not the shape of an example.
    """
    given, needed = ([jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (references, x))
    same = jax.tree.structure(references) == jax.tree.structure(x)
    if not same or any(len(a) != len(b) or a[1:] != b[1:] or not a[0] for a, b in zip(given, needed, strict=True)):
        raise UserError(f"references have the shapes {given}, expected examples like those of the input, {needed}")
    return given[0][0]


def _met(gap: Any, tol: float, nodes: int) -> bool:
    """Whether all gaps are within the tolerance, or too many nodes would be needed."""
    if isinstance(gap, Tracer):
        raise UserError("tol= chooses the nodes by what came out, which jit does not know; give nodes= there")
    worst = float(jnp.abs(gap).max())
    if worst > tol and 2 * nodes > _MOST:
        warnings.warn(f"the gap of an example is {worst:.2g} with {nodes} nodes, more than tol={tol}", stacklevel=4)
    return worst <= tol or 2 * nodes > _MOST


def _blur(x: Float[Array, "B ..."], deviation: Any, axes: Sequence[int]) -> Float[Array, "B ..."]:
    """Gaussian blur along axes; a constant stays what it is up to the edges."""
    for axis in axes:
        apart = jnp.square(jnp.subtract.outer(jnp.arange(x.shape[axis]), jnp.arange(x.shape[axis])).astype(x.dtype))
        weights = jax.nn.softmax(-apart / jnp.maximum(2 * deviation**2, 1e-6), axis=1)
        x = jnp.moveaxis(jnp.tensordot(x, weights, axes=(axis, 1)), -1, axis)
    return x
