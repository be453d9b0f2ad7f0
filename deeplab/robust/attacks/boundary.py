"""FAB: the nearest point of another class, by steps onto the linearized boundary that are drawn back to the example.

Croce and Hein 2020, https://arxiv.org/abs/1907.02044.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from deeplab.core import ranges
from deeplab.core.abstract.convolutions import canonical
from deeplab.robust.attacks.adaptive import runner_up
from deeplab.robust.attacks.norms import LINF, Norm, by_row, flat
from deeplab.robust.attacks.objectives import classes, misclassified
from deeplab.robust.attacks.seam import IMAGES, Problem, Seam
from deeplab.robust.attacks.search import Found, Search, Searching, drawn_back, rows

_MOST_BACK = 0.1  # largest share alpha of the step from the example itself
_BEYOND = 1.05  # eta: how far beyond the plane a step goes
_BACK = 0.9  # beta: how far an adversarial point is drawn back


class _State(NamedTuple):
    x: Float[Array, "B ..."]
    adversarial: Float[Array, "B ..."]
    distance: Float[Array, " B"]
    target: Int[Array, " B"]


@ranges.checked(steps=ranges.COUNT, targets=ranges.COUNT)
def fab(
    radius: Any, steps: int = 100, *, targets: int = 9, norm: Norm = LINF, seam: Seam = IMAGES, halvings: int = 18
) -> Searching:
    """The nearest adversarial point that the Fast Adaptive Boundary attack finds, towards one class after the other.

    Args:
      radius: Radius within which a point is a success; a larger one is not returned. Infinity, to measure distances.
      steps: Number of steps for each class.
      targets: Number of classes, the most probable ones first.
      norm: Norm of the distance.
      seam: Where the attack acts.
      halvings: Number of times that the way back from a point that was found to the example is halved at last, to the
        nearest point of it that is still adversarial; none in AutoAttack.

    Raises:
      UserError: the radius is out of the box, or, when called, the model has fewer classes.

    Example:
      >>> attack = fab(0.3, targets=3)
    """
    if isinstance(radius, Tracer) or not np.isinf(radius):
        seam.check(radius, norm)

    def begin(problem: Problem, keys: PRNGKeyArray, attempt: Array) -> _State:
        del keys
        x, target = problem.x, runner_up(problem, attempt, targets)
        # An example that is misclassified is its own adversarial point.
        wrong = misclassified(problem.outputs(x, problem.key), problem.batch)
        return _State(x, x, jnp.where(wrong, 0, jnp.inf).astype(x.dtype), target)

    def step(problem: Problem, state: _State, i: Array) -> _State:
        del i
        difference, slope = canonical(_difference(problem))(state.x, state.target)
        x = _towards(problem, state.x, difference, slope, norm)
        wrong = canonical(lambda x: misclassified(problem.outputs(x, problem.key), problem.batch))(x)
        distance = norm.size(x - problem.x)
        adversarial, nearest = rows(
            wrong & (distance < state.distance), (x, distance), (state.adversarial, state.distance)
        )
        x = rows(wrong, problem.x + (x - problem.x) * _BACK, x)
        return _State(x, adversarial, nearest, state.target)

    def found(problem: Problem, state: _State) -> Found:
        x = drawn_back(problem, state.adversarial, misclassified, halvings)
        distance = jnp.where(jnp.isfinite(state.distance), norm.size(x - problem.x), jnp.inf)
        within = distance <= radius
        return Found(rows(within, x, problem.x), -distance, within)

    return Searching(Search(steps, begin, step, found, lambda state: state.distance <= radius, targets), seam)


def _difference(problem: Problem) -> Any:
    """The function from x and a class to z_t - z_y and its gradient."""

    def total(x: Array, target: Array) -> tuple[Array, Array]:
        logits, label = classes(problem.outputs(x, problem.key), problem.batch)
        pick = lambda k: jnp.take_along_axis(logits, k[:, None], axis=1)[:, 0]  # noqa: E731
        difference = pick(target) - pick(label)
        return jnp.sum(difference), difference

    def both(x: Array, target: Array) -> tuple[Array, Array]:
        slope, difference = jax.grad(canonical(total), has_aux=True)(x, target)
        return difference, slope

    return both


def _towards(problem: Problem, x: Array, difference: Array, slope: Array, norm: Norm) -> Array:
    """A step from x, and one from the example, onto the plane, and the mean of both by how short they are."""
    clean, size = problem.x, len(x)
    w = flat(slope)
    b = jnp.sum(w * flat(x), axis=1) - difference
    points = jnp.concatenate([flat(x), flat(clean)])
    low, high = (
        jnp.tile(flat(jnp.broadcast_to(jnp.asarray(end, x.dtype), x.shape)), (2, 1))
        for end in (problem.low, problem.high)
    )
    steps = norm.onto(points, jnp.tile(w, (2, 1)), jnp.tile(b, 2), low, high)
    from_x, from_clean = (part.reshape(x.shape) for part in (steps[:size], steps[size:]))
    lengths = jnp.maximum(norm.size(steps), 1e-8)
    alpha = by_row(jnp.clip(lengths[:size] / (lengths[:size] + lengths[size:]), 0, _MOST_BACK), x)
    moved = (x + _BEYOND * from_x) * (1 - alpha) + (clean + _BEYOND * from_clean) * alpha
    return jnp.clip(moved, problem.low, problem.high)
