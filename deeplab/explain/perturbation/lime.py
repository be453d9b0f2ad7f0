"""LIME: a linear model of the score around an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from deeplab.core.precision import exact
from deeplab.explain.attribution import Target, checked, drawn
from deeplab.explain.chunks import mapped
from deeplab.explain.perturbation.groups import Groups, players


class Fitted(NamedTuple):
    """An `Attribution` by a linear model, and how well that describes the score.

    Attributes:
      values: Coefficients of the groups.
      gap: None: they need not add up.
      error: Standard error of each value.
      r2: Share of the weighted variance of the score that the linear model has, [B].
      intercept: Its score without any group, [B].
    """

    values: Any
    gap: None
    error: Any
    r2: Float[Array, " B"]
    intercept: Float[Array, " B"]


def lime(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    key: jax.Array | None = None,
    draws: int = 1000,
    groups: Groups = None,
    penalty: float = 1.0,
    width: float = 0.25,
    masks: Bool[Array, "N M"] | None = None,
    chunk: int | None = None,
) -> Fitted:
    """A ridge regression of the score on which groups are there, in which masks near to the whole input count more.

    A mask in which a share s of the groups is there has the weight exp(-(1 - sqrt(s))^2 / (2 width^2)).

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of arrays with a leading axis of examples; of any type.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      key: Key of the masks, which all examples share.
      draws: Number of masks, in which each group is there or not with equal chances.
      groups: Labels of the entries that move together; each by itself when None.
      penalty: Weight of the sum of squared coefficients.
      width: Width of the neighborhood, as a distance of cosines.
      masks: Flags of the groups that are there, instead of draws.
      chunk: Number of masks at a time; by the size of what f computes when None.

    Returns:
      Coefficients with their standard error: [B, M] of M groups, in the shapes of the inputs when there are none; and
      the fit.

    Raises:
      UserError: there is no key, the baseline or the groups do not fit the inputs, or the result is not finite.

    Example:
      >>> f, x = lambda x: x.sum(axis=1), jnp.array([[1.0, 2.0]])
      >>> lime(f, x, 0.0, key=jax.random.key(0), draws=64, penalty=1e-6).values.round(2).tolist()
      [[1.0, 2.0]]

    Source: Ribeiro, Singh and Guestrin 2016, https://arxiv.org/abs/1602.04938
    """
    game = players(f, x, baseline, target, args, groups)
    if masks is None:
        masks = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (game.count,)))(drawn(key, draws))
    worth = mapped(game.score, masks, chunk)
    values, error, r2, intercept = _solved(masks.astype(worth.dtype), worth, penalty, width)
    return checked(Fitted(game.shaped(values.T), None, game.shaped(error.T), r2, intercept))


@exact
def _solved(
    rows: Float[Array, "N M"], worth: Float[Array, "N B"], penalty: float, width: float
) -> tuple[Float[Array, "M B"], Float[Array, "M B"], Float[Array, " B"], Float[Array, " B"]]:
    """Coefficients, their standard error, the share of the variance that is explained, and the intercept."""
    weights = jnp.exp(-jnp.square(1 - jnp.sqrt(rows.mean(axis=1))) / (2 * width**2))
    center = lambda table: table - (weights / weights.sum() @ table)[None]  # noqa: E731
    near, scores = center(rows), center(worth)
    normal = jnp.einsum("nk,n,nl->kl", near, weights, near) + penalty * jnp.eye(rows.shape[1])
    pull = jnp.linalg.solve(normal, near.T * weights[None])
    values = pull @ scores
    left = scores - near @ values
    error = jnp.sqrt(pull**2 @ left**2)
    r2 = 1 - weights @ left**2 / jnp.maximum(weights @ scores**2, jnp.finfo(worth.dtype).tiny)
    return values, error, r2, weights / weights.sum() @ (worth - rows @ values)
