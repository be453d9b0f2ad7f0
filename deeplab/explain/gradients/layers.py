"""What the units of a layer add to the score as the input moves, and the pairs of entries that act together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core.jax_compat import plain_operations
from deeplab.explain.attribution import Attribution, Target, baseline_of, checked, count_of, scored, slope, summed
from deeplab.explain.chunks import total
from deeplab.explain.gradients.paths import Nodes, quadrature, straight
from deeplab.explain.taps import split


def conductance(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    tap: str,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    nodes: Nodes = 64,
    chunk: int | None = None,
) -> Attribution:
    """What each unit of a layer hands on of the difference of the score, as the input moves from its baseline.

    values = integral of (df/dy) (dy/da) da. They add up to the difference where all that f reads of its input goes
    through the layer.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      tap: Name of the layer; see `deeplab.explain.taps`.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      nodes: Number of points at which the gradient is taken; or points and weights.
      chunk: Number of points at a time; by the size of what f computes when None.

    Returns:
      Values in the shape of the layer.

    Raises:
      UserError: there is no such tap, an input is not floating-point, or the result is not finite.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f = lambda x: 3 * mark(2 * x, "hidden").sum(axis=1)
      >>> [round(float(v), 3) for v in conductance(f, jnp.array([[1.0, 2.0]]), 0.0, "hidden", nodes=4).values[0]]
      [6.0, 12.0]

    Source: Dhamdhere, Sundararajan and Yan 2019, https://arxiv.org/abs/1805.12233
    """
    return _through(f, x, baseline, tap, target, args, nodes, chunk, moved=True)


def internal_influence(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    tap: str,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    nodes: Nodes = 64,
    chunk: int | None = None,
) -> Attribution:
    """How fast the score changes with each unit of a layer, in the mean over inputs from a baseline on.

    values = integral of df/dy da, of which `conductance` has the share of each unit's own move.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      tap: Name of the layer; see `deeplab.explain.taps`.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      nodes: Number of points at which the gradient is taken; or points and weights.
      chunk: Number of points at a time; by the size of what f computes when None.

    Returns:
      Values in the shape of the layer.

    Raises:
      UserError: there is no such tap, an input is not floating-point, or the result is not finite.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f = lambda x: 3 * mark(2 * x, "hidden").sum(axis=1)
      >>> [round(float(v), 3) for v in internal_influence(f, jnp.array([[1.0, 2.0]]), 0.0, "hidden", nodes=4).values[0]]
      [3.0, 3.0]

    Source: Leino et al. 2018, https://arxiv.org/abs/1802.03788
    """
    return _through(f, x, baseline, tap, target, args, nodes, chunk, moved=False)


def integrated_hessians(
    f: Callable[..., Any],
    x: Float[Array, "B ..."],
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    nodes: int = 32,
    chunk: int | None = None,
) -> Attribution:
    """What each pair of entries adds to the difference of the score; the diagonal is what an entry adds by itself.

    Integrated gradients of integrated gradients: row i shares the integrated gradient of entry i, so that of a product
    one half is on the pair and one half on the diagonal. The double integral over a point ab of the straight line is
    one over t = ab with the weight -log t, which the quadrature has exactly.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs, twice differentiable: ReLU has no second derivative.
      x: Inputs, an array of D entries for each example: the values have D x D.
      baseline: Inputs that stand for the absence of a signal; an array that broadcasts will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      nodes: Number of points at which the derivatives are taken.
      chunk: Number of points at a time; by the size of what f computes when None.

    Returns:
      Values [B, D, D], symmetric; the gap is that of the sum of all pairs.

    Raises:
      UserError: an input is not floating-point, the baseline does not fit it, or the result is not finite.

    Example:
      >>> found = integrated_hessians(lambda x: x[:, 0] * x[:, 1], jnp.array([[2.0, 3.0]]), 0.0)
      >>> found.values.round(4).tolist()
      [[[1.5, 1.5], [1.5, 1.5]]]

    Source: Janizek, Sturmfels and Lee 2021, https://arxiv.org/abs/2002.04138
    """
    base = baseline_of(baseline, x)
    score, args = scored(plain_operations()(f), target, args)
    size = x[0].size

    def of_one(x: jax.Array, base: jax.Array, args: Any, point: jax.Array) -> tuple[jax.Array, jax.Array]:
        one = lambda flat: score(flat.reshape(1, *x.shape), *jax.tree.map(lambda leaf: leaf[None], args))[0]  # noqa: E731
        at, move = (base + point * (x - base)).reshape(size), (x - base).reshape(size)
        return move * jax.grad(one)(at), move[:, None] * jax.hessian(one)(at) * move[None]

    def step(row: Any) -> jax.Array:
        first, second = jax.vmap(of_one, (0, 0, 0, None))(x, base, args, row[0])
        return row[1] * (row[0] * second + jax.vmap(jnp.diag)(first))

    values = total(step, quadrature(_logarithmic(nodes), x), chunk)
    return checked(Attribution(values, summed(values) - (score(x, *args) - score(base, *args))))


def _through(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    tap: str,
    target: Target,
    args: Any,
    nodes: Any,
    chunk: Any,
    moved: bool,
) -> Attribution:
    f = plain_operations()(f)  # as `split` traces it: the gap is of one and the same function
    base, (upto, rest) = baseline_of(baseline, x), split(f, tap)
    score, given = scored(f, target, args)

    def step(row: Any) -> Any:
        point, move = jax.jvp(straight(x, base), (row[0],), (jnp.ones_like(row[0]),))
        value, change = jax.jvp(lambda point: upto(point, *args), (point,), (move,))
        grads = slope(*scored(rest, target, (point, *args)))(value)
        return row[1] * (grads * change if moved else grads)

    values = total(step, quadrature(nodes, x), chunk)
    if not moved:
        return checked(Attribution(values))
    return checked(Attribution(values, summed(values) - (score(x, *given) - score(base, *given))))


def _logarithmic(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre points, and weights that integrate -log(t) times a polynomial of lower degree exactly."""
    points, weights = np.polynomial.legendre.leggauss(count_of("nodes", nodes))
    degrees = np.arange(1, nodes)
    moments = np.append(1.0, (-1.0) ** degrees / (degrees * (degrees + 1)))  # of -log(t) with shifted Legendre P_j
    basis = np.polynomial.legendre.legvander(points, nodes - 1) * (2 * np.arange(nodes) + 1)
    return (points + 1) / 2, weights / 2 * (basis @ moments)
