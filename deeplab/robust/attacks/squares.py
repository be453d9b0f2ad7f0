"""Square: random squares, kept where they help, without any gradient.

Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049. The schedule of the sizes is that of AutoAttack. Images
are [B, H, W, C].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from deeplab.core import ranges
from deeplab.core.abstract.convolutions import canonical
from deeplab.core.errors import UserError
from deeplab.robust.attacks.norms import L1, L2, LINF, Norm, by_row
from deeplab.robust.attacks.objectives import MARGIN, Objective
from deeplab.robust.attacks.schedule import sizes_of
from deeplab.robust.attacks.seam import IMAGES, Problem, Seam
from deeplab.robust.attacks.search import Found, Search, Searching, rows

_ROOM = 1 - 1e-6  # of the radius in the sum norm, against rounding


class _State(NamedTuple):
    x: Float[Array, "B H W C"]
    value: Float[Array, " B"]
    fooled: Bool[Array, " B"]
    keys: PRNGKeyArray


@ranges.checked(queries=ranges.COUNT, share=ranges.FRACTION, restarts=ranges.COUNT)
def square(
    radius: Any,
    queries: int = 5000,
    *,
    norm: Norm = LINF,
    share: float = 0.8,
    objective: Objective = MARGIN,
    seam: Seam = IMAGES,
    restarts: int = 1,
) -> Searching:
    """Random search by squares of [B, H, W, C] images that shrink as it goes on; it sees outputs alone.

    Args:
      radius: Radius of the ball; may be a tracer.
      queries: Number of queries of the model.
      norm: Norm of the ball.
      share: Share p of the image that the first squares cover.
      objective: What is raised.
      seam: Where the attack acts.
      restarts: Number of times that it begins anew.

    Raises:
      UserError: the radius is out of the box, or, when called, the field holds no images.

    Example:
      >>> attack = square(0.3, queries=1000)
    """
    seam.check(radius, norm)

    def begin(problem: Problem, keys: PRNGKeyArray, attempt: Array) -> _State:
        del attempt
        x = problem.x
        if x.ndim != 4:
            raise UserError(f"square moves images [B, H, W, C], and {seam.name!r} is {list(x.shape)}; use attacks.pgd")
        unseen = jnp.full(len(x), -jnp.inf, x.dtype)
        return _State(_first(keys, problem, radius, norm), unseen, jnp.zeros(len(x), bool), keys)

    def step(problem: Problem, state: _State, i: Int[Array, " B"]) -> _State:
        keys = jax.vmap(jax.random.fold_in)(state.keys, i)
        H, W = problem.x.shape[1:3]
        sizes = jnp.asarray(sizes_of(queries, share, H, W, norm))[jnp.maximum(i - 1, 0)]
        place = _placed(keys, sizes, problem.x.shape[1:], norm)
        moved = (_square_linf if norm is LINF else _square_ball)(problem, state.x, place, radius, norm)
        x = rows(i == 0, state.x, moved)  # the first query is of the stripes or tiles
        values, wrong = _told(problem, objective)(x, i)
        kept = ((values > state.value) | wrong) & ~state.fooled
        new = _State(x, jnp.maximum(values, state.value), wrong, state.keys)
        return rows(kept, new, state)

    def found(problem: Problem, state: _State) -> Found:
        del problem
        return Found(state.x, state.value, state.fooled)

    return Searching(Search(queries + 1, begin, step, found, lambda state: state.fooled, restarts), seam)


def _told(problem: Problem, objective: Objective) -> Any:
    def told(x: Array, i: Array) -> tuple[Array, Array]:
        outputs = problem.outputs(x, jax.random.fold_in(problem.key, jnp.max(i)))
        return objective.value(outputs, problem.batch), objective.fooled(outputs, problem.batch)

    return canonical(told)


class _Place(NamedTuple):
    """What is drawn, and where.

    Attributes:
      inside: Mask of the window that is drawn on, [B, H, W, 1].
      other: Mask of the window that gives way in the two other norms.
      pattern: What is drawn within the first window, in these norms.
      signs: Sign of each channel, [B, 1, 1, C].
    """

    inside: Array
    other: Array
    pattern: Array
    signs: Array


def _placed(keys: PRNGKeyArray, sizes: Int[Array, " B"], shape: tuple[int, ...], norm: Norm) -> _Place:
    H, W, C = shape

    def draw(key: PRNGKeyArray) -> tuple[Array, Array]:
        where, sign = jax.random.split(key)
        return jax.random.uniform(where, (5,)), jnp.where(jax.random.bernoulli(sign, shape=(C,)), 1.0, -1.0)

    uniform, signs = jax.vmap(draw)(keys)

    def offsets(of: int, along: int) -> Array:
        """Distance of each row or column from the corner of a window, [B, N]."""
        N = (H, W)[along]
        corner = (uniform[:, of] * jnp.maximum(N - sizes, 0)).astype(int)
        return jnp.arange(N)[None] - corner[:, None]

    def mask(rows: Array, columns: Array) -> Array:
        within = lambda offset: (offset >= 0) & (offset < sizes[:, None])  # noqa: E731
        return (within(rows)[:, :, None] & within(columns)[:, None])[..., None]

    rows, columns = offsets(0, 0), offsets(1, 1)
    inside, signs = mask(rows, columns), signs[:, None, None]
    if norm is LINF:
        return _Place(inside, inside, inside, signs)
    most = min(H, W)
    table = jnp.asarray(np.stack([np.pad(bumps(s, norm), (0, most - s)) for s in range(1, most + 1)]), jnp.float32)
    at = [jnp.clip(offset, 0, most - 1) for offset in (rows, columns)]
    of_size = table[sizes - 1]
    pattern, across = (jax.vmap(lambda own, a, b: own[a[:, None], b[None]])(of_size, *pair) for pair in (at, at[::-1]))
    turned = (uniform[:, 4] > 0.5)[:, None, None]
    pattern = jnp.where(turned, jnp.swapaxes(across, 1, 2), pattern)[..., None]
    return _Place(inside, mask(offsets(2, 0), offsets(3, 1)), jnp.where(inside, pattern, 0), signs)


def bumps(side: int, norm: Norm) -> Float[np.ndarray, "S S"]:
    """Two bumps of opposite signs, one above the other, of norm 1: what a square draws but in the maximum norm.

    Example:
      >>> bumps(3, L2).round(2).tolist()
      [[0.14, 0.68, 0.14], [-0.13, -0.13, -0.13], [-0.13, -0.65, -0.13]]
    """
    power, order = (4, 1) if norm is L1 else (2, 2)

    def bump(height: int, width: int) -> np.ndarray:
        rows, columns = np.abs(np.arange(height) - height // 2), np.abs(np.arange(width) - width // 2)
        rings = np.cumsum(1.0 / np.arange(max(height, width) // 2 + 1, 0, -1) ** power)[::-1]
        made = rings[np.maximum(rows[:, None], columns)]
        return made / (np.sum(np.abs(made) ** order) ** (1 / order) + 1e-30)

    whole = np.concatenate([bump(side // 2, side), -bump(side - side // 2, side)])
    return whole / np.sum(np.abs(whole) ** order) ** (1 / order)


def _first(keys: PRNGKeyArray, problem: Problem, radius: Any, norm: Norm) -> Array:
    """Stripes of random signs; in the other norms tiles of bumps."""
    x, low, high = problem.x, problem.low, problem.high
    H, W, C = x.shape[1:]
    if norm is LINF:
        signs = jax.vmap(lambda key: jax.random.bernoulli(key, shape=(1, W, C)))(keys)
        return jnp.clip(x + by_row(jnp.asarray(radius), x) * jnp.where(signs, 1.0, -1.0), low, high)
    side = max(H // 5, 1)
    edge = (H - 5 * side) // 2 if H >= 5 else 0
    rows, columns = (np.arange(N) - edge for N in (H, W))
    counts = [min(N // side, (N - edge) // side) for N in (H, W)]
    inside = [(line >= 0) & (line < count * side) for line, count in zip((rows, columns), counts, strict=True)]
    rows, columns = (np.where(within, line, 0) for within, line in zip(inside, (rows, columns), strict=True))
    tile = (rows // side)[:, None] * counts[1] + columns // side  # [H, W]
    pattern = bumps(side, norm)
    upright, turned = (p[(rows % side)[:, None], columns % side] for p in (pattern, pattern.T))
    shown = inside[0][:, None] & inside[1]

    def draw(key: PRNGKeyArray) -> Array:
        which, sign = jax.random.split(key)
        turns = jax.random.bernoulli(which, shape=(counts[0] * counts[1],))[tile]
        signs = jnp.where(jax.random.bernoulli(sign, shape=(counts[0] * counts[1], C)), 1.0, -1.0)[tile]
        return (jnp.where(turns, turned, upright) * shown)[..., None] * signs

    return _within(problem, jax.vmap(draw)(keys).astype(x.dtype), radius, norm)


def _square_linf(problem: Problem, x: Array, place: _Place, radius: Any, norm: Norm) -> Array:
    step = 2 * by_row(jnp.asarray(radius), x) * place.signs * place.inside
    return norm.project(problem.x, x + step, radius, problem.low, problem.high)


def _square_ball(problem: Problem, x: Array, place: _Place, radius: Any, norm: Norm) -> Array:
    """One window takes what another has of the radius, and what is left of it, and adds bumps to its own pattern."""
    delta, C = x - problem.x, x.shape[-1]
    radius = by_row(jnp.asarray(radius), x)
    whole = by_row(norm.size(delta), x)
    own = jnp.where(place.inside, delta, 0)
    both = _of_window(jnp.where(place.inside | place.other, delta, 0), norm)
    new = place.pattern * place.signs + own / (1e-12 + _of_window(own, norm))
    new = new / (1e-12 + _of_window(new, norm))
    if norm is L2:
        new = new * jnp.sqrt(jnp.maximum(radius**2 - whole**2, 0) / C + both**2)
    else:
        new = new * (jnp.maximum(radius - whole, 0) / C + both) * C
    delta = jnp.where(place.inside, new, jnp.where(place.other, 0, delta))
    return _within(problem, delta, radius, norm)


def _within(problem: Problem, delta: Array, radius: Any, norm: Norm) -> Array:
    """The perturbation on the sphere, and in the box."""
    x, radius = problem.x, by_row(jnp.asarray(radius), problem.x)
    if norm is L2:
        return jnp.clip(x + delta / (by_row(L2.size(delta), x) + 1e-12) * radius, problem.low, problem.high)
    return norm.project(x, x + delta, radius.reshape(-1) * _ROOM, problem.low, problem.high)


def _of_window(delta: Array, norm: Norm) -> Array:
    """The norm of each channel, [B, 1, 1, C]."""
    if norm is L2:
        return jnp.sqrt(jnp.sum(delta**2, axis=(1, 2), keepdims=True))
    return jnp.sum(jnp.abs(delta), axis=(1, 2), keepdims=True)
