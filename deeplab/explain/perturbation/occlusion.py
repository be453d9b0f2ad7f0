"""What the score loses where a window hides the input, and where random masks hide it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Attribution, Target, baseline_of, checked, drawn, scaled, scored
from deeplab.explain.chunks import averaged, total


def occlusion(
    f: Callable[..., Any],
    x: Float[Array, "B ..."],
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    window: Sequence[int],
    stride: Sequence[int] | int = 1,
    chunk: int | None = None,
) -> Attribution:
    """How far the score falls when a window goes to its baseline; of an entry, the mean over the windows that hide it.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, an array of any type with a leading axis of examples.
      baseline: Inputs that stand for the absence of a signal; an array that broadcasts will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      window: Number of entries of a window along each axis after the first; whole axes where there are none.
      stride: Steps between windows, one or one for each axis of the window. The last windows end beyond the input.
      chunk: Number of windows at a time; by the size of what f computes when None.

    Returns:
      Values in the shape of the inputs; 0 where no window comes.

    Raises:
      UserError: the window or the baseline does not fit the inputs, or the result is not finite.

    Example:
      >>> occlusion(lambda x: x.sum(axis=1), jnp.array([[1.0, 2.0, 4.0]]), 0.0, window=(2,)).values.tolist()
      [[3.0, 4.5, 6.0]]

    Source: Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901
    """
    base = baseline_of(baseline, x, floating=False)
    score, args = scored(f, target, args)
    starts, sizes = _windows(x.shape[1:], window, stride)
    whole = score(x, *args)

    def step(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = jnp.ones((1,) * x.ndim, bool)
        for axis, size in enumerate(sizes):
            apart = jnp.arange(x.shape[axis + 1]) - start[axis]
            hidden = hidden & jnp.expand_dims(
                (apart >= 0) & (apart < size), [i for i in range(x.ndim) if i != axis + 1]
            )
        drop = whole - score(jnp.where(hidden, base, x), *args)
        return scaled(drop, hidden.astype(drop.dtype)), hidden.astype(drop.dtype)

    lost, times = total(step, jnp.asarray(starts), chunk)
    return checked(Attribution(jnp.broadcast_to(lost / jnp.maximum(times, 1), x.shape)))


def rise(
    f: Callable[..., Any],
    x: Float[Array, "B ..."],
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    key: jax.Array | None = None,
    cells: Sequence[int] = (7, 7),
    probability: float = 0.5,
    draws: int = 2000,
    chunk: int | None = None,
) -> Attribution:
    """The mean score where a place is seen: E[f(x * m) m] / E[m] over masks m, coarse, smooth and shifted at random.

    Args:
      f: Function `f(x, *args)` from inputs [B, places..., ...] to outputs.
      x: Inputs, a floating-point array with a leading axis of examples.
      baseline: What stands where the mask hides the input; an array that broadcasts will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      key: Key of the masks, which all examples share.
      cells: Number of cells of a mask along each axis after the first.
      probability: Probability that a cell is seen.
      draws: Number of masks.
      chunk: Number of masks at a time; by the size of what f computes when None.

    Returns:
      Values [B, places...] with their standard error.

    Raises:
      UserError: there is no key, the baseline or the cells do not fit the inputs, or the result is not finite.

    Example:
      >>> f, x = lambda x: x.sum(axis=(1, 2)), jnp.ones((1, 4, 4))
      >>> rise(f, x, 0.0, key=jax.random.key(0), cells=(2, 2), draws=8).values.shape
      (1, 4, 4)

    Source: Petsiuk, Das and Saenko 2018, https://arxiv.org/abs/1806.07421
    """
    base = baseline_of(baseline, x)
    score, args = scored(f, target, args)
    keys, places = drawn(key, draws), x.shape[1 : 1 + len(cells)]
    if len(places) < len(cells) or not all(1 <= cell <= place for place, cell in zip(places, cells, strict=True)):
        raise UserError(
            f"cells={tuple(cells)} do not fit examples of {x.shape[1:]}; give at most a cell for each place"
        )
    tiles = [-(-place // cell) for place, cell in zip(places, cells, strict=True)]

    def one(key: jax.Array) -> jax.Array:
        which, where = jax.random.split(key)
        seen = jax.random.bernoulli(which, probability, [cell + 1 for cell in cells]).astype(x.dtype)
        smooth = jax.image.resize(seen, [(c + 1) * t for c, t in zip(cells, tiles, strict=True)], "bilinear")
        shift = jax.random.randint(where, (len(cells),), 0, jnp.asarray(tiles))
        mask = jax.lax.dynamic_slice(smooth, shift, places)[None]
        full = mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim))
        return scaled(score(base + full * (x - base), *args), mask) / probability

    values, error = averaged(one, keys, chunk)
    return checked(Attribution(values, error=error))


def _windows(
    shape: tuple[int, ...], window: Sequence[int], stride: Sequence[int] | int
) -> tuple[np.ndarray, list[int]]:
    """Starts of all windows [N, axes], and their sizes."""
    if not np.iterable(window):
        raise UserError(f"window={window!r} has no sizes; give one for each axis after the first, such as ({window},)")
    strides = [stride] * len(window) if isinstance(stride, int) else list(stride)
    fits = len(window) <= len(shape) and all(0 < size <= whole for size, whole in zip(window, shape, strict=False))
    if not fits or len(strides) != len(window) or min(strides, default=1) < 1:
        raise UserError(
            f"the window {tuple(window)} with strides {tuple(strides)} does not fit examples of {shape}; give "
            "sizes of at most the axes after the first, and a positive stride for each"
        )
    rows = [
        np.arange(-(-(whole - size) // step) + 1) * step
        for whole, size, step in zip(shape, window, strides, strict=False)
    ]
    return np.stack(np.meshgrid(*rows, indexing="ij"), axis=-1).reshape(-1, len(rows)), list(window)
