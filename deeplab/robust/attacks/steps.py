"""Attacks of steps of one length: FGSM, and projected gradient ascent with momentum and restarts."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deeplab.core import ranges
from deeplab.robust.attacks.norms import L1, LINF, Norm, by_row
from deeplab.robust.attacks.objectives import CROSS_ENTROPY, Batch, Objective
from deeplab.robust.attacks.seam import IMAGES, Attack, Problem, Seam
from deeplab.robust.attacks.search import Found, Search, Searching, ascent, better

_SHARE = 0.01  # of the coordinates that a step moves in the sum norm (Tramer and Boneh 2019)


def fgsm(
    radius: Any, *, norm: Norm = LINF, objective: Objective = CROSS_ENTROPY, seam: Seam = IMAGES, random: bool = False
) -> Attack:
    """One step of the length of the radius along the gradient (Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572).

    Args:
      radius: Radius of the ball; may be a tracer.
      norm: Norm of the ball.
      objective: What is raised.
      seam: Where the attack acts.
      random: Whether the step is taken from a random point of the ball rather than its center (Wong et al. 2020).

    Raises:
      UserError: the radius is out of the box.

    Example:
      >>> batch = {"image": jnp.array([[0.6]]), "label": jnp.array([1]), "weight": jnp.ones(1), "id": jnp.arange(1)}
      >>> model = lambda x, **_: (jnp.concatenate([0.5 - x, x - 0.5], axis=1), {})
      >>> round(fgsm(0.25)(model, batch, jax.random.key(0))["image"].item(), 2)
      0.35
    """
    seam.check(radius, norm)

    def attack(apply: Any, batch: Batch, key: PRNGKeyArray) -> Batch:
        problem = seam.problem(apply, batch, key)
        x, low, high = problem.x, problem.low, problem.high
        start = norm.start(problem.keys, x, radius, low, high) if random else x
        slope = ascent(problem, lambda outputs, batch, _: objective.value(outputs, batch), objective.fooled)
        step = by_row(jnp.asarray(radius), x) * norm.steepest(slope(start, None, 0)[0], _share(norm))
        return seam.moved(problem, jax.lax.stop_gradient(norm.project(x, start + step, radius, low, high)))

    return attack


class _State(NamedTuple):
    x: Float[Array, "B ..."]
    momentum: Float[Array, "B ..."]
    found: Found


@ranges.checked(steps=ranges.COUNT, step=ranges.NATURAL, restarts=ranges.COUNT, samples=ranges.COUNT)
def pgd(
    radius: Any,
    steps: int = 40,
    *,
    step: Any = None,
    norm: Norm = LINF,
    objective: Objective = CROSS_ENTROPY,
    seam: Seam = IMAGES,
    restarts: int = 1,
    momentum: Any = 0.0,
    samples: int = 1,
    random: bool = True,
    last: bool = False,
) -> Searching:
    """Projected gradient ascent (Madry et al. 2018, https://arxiv.org/abs/1706.06083).

    x <- P(x + a s(m)), with the steepest step s of the norm, the projection P into the ball and the box, and
    m <- momentum m + g / |g|_1 of the gradient g (MI-FGSM, Dong et al. 2018, https://arxiv.org/abs/1710.06081).
    Of each example the point of the largest objective is returned, one where the attack succeeded before all others.

    Args:
      radius: Radius of the ball; may be a tracer.
      steps: Number of steps.
      step: Length a of a step; 2.5 radius / steps when None.
      norm: Norm of the ball and of the steps.
      objective: What is raised.
      seam: Where the attack acts.
      restarts: Number of times that the attack begins at another random point.
      momentum: Share of the last direction that is kept; may be a tracer.
      samples: Number of samples of a model that is random itself, over which the gradient is averaged.
      random: Whether it begins at a random point rather than at the example.
      last: Whether the last point is returned rather than the best, as training does; it saves one evaluation.

    Raises:
      UserError: the radius is out of the box.

    Example:
      >>> attack = pgd(0.3, steps=10, restarts=2)
    """
    seam.check(radius, norm)
    length = 2.5 * radius / steps if step is None else step

    def begin(problem: Problem, keys: PRNGKeyArray, attempt: Array) -> _State:
        x = problem.x
        start = norm.start(keys, x, radius, problem.low, problem.high) if random else x
        none = Found(x, jnp.full(len(x), -jnp.inf, x.dtype), jnp.zeros(len(x), bool))
        return _State(start, jnp.zeros_like(x), none)

    def move(problem: Problem, state: _State, i: Array) -> _State:
        x, low, high = state.x, problem.low, problem.high
        gradient, value, fooled = slope_of(problem)(x, None, i)
        found = better(state.found, Found(x, value, fooled))
        mean = jnp.maximum(L1.size(gradient), 1e-12)
        plain = isinstance(momentum, float | int) and momentum == 0
        ahead = gradient if plain else momentum * state.momentum + gradient / by_row(mean, x)
        y = x + by_row(jnp.asarray(length), x) * norm.steepest(_free(x, ahead, low, high), _share(norm))
        return _State(norm.project(problem.x, y, radius, low, high), ahead, found)

    def found(problem: Problem, state: _State) -> Found:
        if last:
            return state.found._replace(x=state.x)
        outputs = problem.outputs(state.x, jax.random.fold_in(problem.key, steps))
        value = objective.value(outputs, problem.batch)
        return better(state.found, Found(state.x, value, objective.fooled(outputs, problem.batch)))

    def slope_of(problem: Problem) -> Any:
        return ascent(problem, lambda outputs, batch, _: objective.value(outputs, batch), objective.fooled, samples)

    return Searching(Search(steps, begin, move, found, lambda state: state.found.fooled, restarts), seam)


def _free(x: Array, gradient: Array, low: Any, high: Any) -> Array:
    """The gradient without what points out of the box at its walls."""
    return jnp.where(((x <= low) & (gradient < 0)) | ((x >= high) & (gradient > 0)), 0, gradient)


def _share(norm: Norm) -> float:
    return _SHARE if norm is L1 else 0.0
