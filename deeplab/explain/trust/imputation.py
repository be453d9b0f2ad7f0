"""ROAD: pixels are removed by what their neighbors tell, so that the hole itself gives nothing away."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from deeplab.explain.attribution import Target, scored
from deeplab.explain.trust.features import check_map, ranks

_DIRECT, _DIAGONAL = 1 / 6, 1 / 12  # of the paper: the weights of the eight neighbors, which add up to 1


def imputed(
    x: Float[Array, "B H W C"], removed: Bool[Array, "B H W 1"], *, key: Array | None = None, noise: float = 0.01
) -> Float[Array, "B H W C"]:
    """Images whose removed pixels are the weighted mean of their eight neighbors, removed ones among them.

    Args:
      x: Images.
      removed: Mask of the pixels to replace.
      key: Key of the noise, the same for all examples, which keeps the pixels from being told by their smoothness; none
        when None.
      noise: Standard deviation of the noise.

    Example:
      >>> hole = jnp.zeros((1, 3, 3, 1), bool).at[0, 1, 1, 0].set(True)
      >>> float(imputed(jnp.full((1, 3, 3, 1), 2.0), hole)[0, 1, 1, 0])
      2.0

    Source: Rong et al. 2022, https://arxiv.org/abs/2202.00449 (noisy linear imputation).
    """
    inside = _neighbors(jnp.ones_like(x[..., :1]))  # less than 1 at the border

    def whole(image: Array, gone: Array, inside: Array) -> Array:
        def equations(unknown: Array) -> Array:  # symmetric and positive definite, the identity outside of the hole
            within = jnp.where(gone, unknown, 0)
            return jnp.where(gone, inside * within - _neighbors(within[None])[0], unknown)

        known = _neighbors(jnp.where(gone, 0, image)[None])[0]
        return jax.scipy.sparse.linalg.cg(equations, jnp.where(gone, known, 0), tol=1e-6, maxiter=500)[0]

    filled = jax.vmap(whole)(x, removed, inside)
    if key is not None:
        filled = filled + noise * jax.random.normal(key, (1, *x.shape[1:]), x.dtype)
    return jnp.where(removed, filled, x)


def road(
    f: Callable[..., Any],
    x: Float[Array, "B H W C"],
    values: Float[Array, "B H W 1"],
    target: Target = None,
    *,
    key: Array,
    fractions: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    args: Sequence[Any] = (),
) -> Float[Array, " B"]:
    """How much more of the score is left without the lowest pixels than without the highest, [B]; high is good.

    The mean over fractions of pixels that are removed by `imputed`.

    Args:
      f: Function `f(x, *args)` to outputs.
      x: Images.
      values: Map, with one value for each pixel.
      target: Score that is followed.
      key: Key of the noise.
      fractions: Shares of pixels that are removed.
      args: Further inputs of f.

    Example:
      >>> f, x = lambda x: x.sum(axis=(1, 2, 3)), jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> road(f, x, x, key=jax.random.key(0), fractions=(0.5,)).shape
      (1,)

    Source: Rong et al. 2022, https://arxiv.org/abs/2202.00449.
    """
    pixels = check_map(values, x)
    score, args = scored(f, target, args)

    def left(row: tuple[Array, Array]) -> Array:
        count, key = row
        scores = [score(imputed(x, ranks(sign * values) < count, key=key), *args) for sign in (1, -1)]
        return scores[1] - scores[0]

    counts = jnp.round(jnp.asarray(fractions) * pixels).astype(jnp.int32)
    return jnp.mean(jax.lax.map(left, (counts, jax.random.split(key, len(fractions)))), axis=0)


def _neighbors(x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """The weighted sum of the eight neighbors of each pixel; those outside of the image count 0."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    H, W = x.shape[1:3]
    shifted = [
        (_DIRECT if (row == 1) != (column == 1) else _DIAGONAL) * padded[:, row : row + H, column : column + W]
        for row in range(3)
        for column in range(3)
        if (row, column) != (1, 1)
    ]
    return functools.reduce(jnp.add, shifted)
