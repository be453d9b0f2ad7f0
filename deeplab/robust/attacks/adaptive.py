"""Auto-PGD: projected gradient ascent that halves the step of an example when it no longer helps.

Croce and Hein 2020, https://arxiv.org/abs/2003.01690; in the sum norm Croce and Hein 2021,
https://arxiv.org/abs/2103.01208. Its schedule is that of the authors' program.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.attacks.norms import L1, LINF, Norm, by_row, flat
from deeplab.robust.attacks.objectives import (
    CROSS_ENTROPY,
    Objective,
    classes,
    misclassified,
    targeted_dlr_of,
)  # fmt: skip
from deeplab.robust.attacks.schedule import Plan, plan_of
from deeplab.robust.attacks.seam import IMAGES, Problem, Seam
from deeplab.robust.attacks.search import Found, Search, Searching, Value, ascent, rows

_KEPT = 0.75  # of the way that a step goes; the rest is that of the step before
_RISES = 0.75  # share of the steps since the last checkpoint that have to raise the objective


class _State(NamedTuple):
    x: Float[Array, "B ..."]
    before: Float[Array, "B ..."]
    gradient: Float[Array, "B ..."]
    best: Float[Array, "B ..."]
    of_best: Float[Array, "B ..."]  # the gradient there
    value: Float[Array, " B"]  # the objective there
    adversarial: Float[Array, "B ..."]
    fooled: Bool[Array, " B"]
    length: Float[Array, " B"]
    previous: Float[Array, " B"]
    rises: Float[Array, " B"]
    at_check: Float[Array, " B"]  # the best objective at the last checkpoint
    halved: Bool[Array, " B"]
    share: Float[Array, " B"]  # of the coordinates that a step moves, in the sum norm
    moved: Float[Array, " B"]  # number of coordinates in which the best differs, at the last checkpoint
    extra: Any


@ranges.checked(steps=ranges.COUNT, restarts=ranges.COUNT, samples=ranges.COUNT)
def apgd(
    radius: Any,
    steps: int = 100,
    *,
    norm: Norm = LINF,
    objective: Objective = CROSS_ENTROPY,
    seam: Seam = IMAGES,
    restarts: int = 1,
    samples: int = 1,
) -> Searching:
    """Auto-PGD, as of AutoAttack: no length of a step to choose.

    A step begins at twice the radius, goes three quarters of its way and one quarter of the last, and is halved where
    fewer than three quarters of the steps since the last checkpoint raised the objective, or the best has not moved.

    Args:
      radius: Radius of the ball; may be a tracer.
      steps: Number of steps.
      norm: Norm of the ball.
      objective: What is raised, such as `attacks.CROSS_ENTROPY` or `attacks.DLR`.
      seam: Where the attack acts.
      restarts: Number of random starts.
      samples: Number of samples of a model that is random itself.

    Raises:
      UserError: the radius is out of the box.

    Example:
      >>> attack = apgd(8 / 255, steps=100, restarts=2)
    """
    value = lambda outputs, batch, _: objective.value(outputs, batch)  # noqa: E731
    return Searching(_search(radius, steps, norm, value, objective, seam, None, samples, restarts), seam)


@ranges.checked(steps=ranges.COUNT, targets=ranges.COUNT, samples=ranges.COUNT)
def apgd_targeted(
    radius: Any, steps: int = 100, *, targets: int = 9, norm: Norm = LINF, seam: Seam = IMAGES, samples: int = 1
) -> Searching:
    """Auto-PGD towards one class after the other, the most probable first, by the targeted DLR objective.

    Args:
      radius: Radius of the ball; may be a tracer.
      steps: Number of steps for each class.
      targets: Number of classes.
      norm: Norm of the ball.
      seam: Where the attack acts.
      samples: Number of samples of a model that is random itself.

    Raises:
      UserError: the radius is out of the box, or, when called, the model has fewer classes.

    Example:
      >>> attack = apgd_targeted(8 / 255, targets=3)
    """

    def value(outputs: Any, batch: Any, target: Array) -> Array:
        return targeted_dlr_of(*classes(outputs, batch), target)

    objective = Objective(lambda outputs, batch: jnp.zeros(0), misclassified)
    return Searching(_search(radius, steps, norm, value, objective, seam, targets, samples, targets), seam)


def runner_up(problem: Problem, number: Int[Array, " B"], targets: int) -> Int[Array, " B"]:
    """The class of the second largest logit of each example for number 0, of the third for 1, and so on."""
    logits, _ = classes(problem.outputs(problem.x, problem.key), problem.batch)
    if (K := logits.shape[-1]) <= targets:
        raise UserError(f"targets={targets} was given, and beside the label there are {K - 1} classes; give {K - 1}")
    return jnp.take_along_axis(jnp.argsort(logits, axis=-1), K - 2 - number[:, None], axis=-1)[:, 0]


def _search(
    radius: Any, steps: int, norm: Norm, value: Value, objective: Objective, seam: Seam, targets: int | None,
    samples: int, attempts: int,
) -> Search:  # fmt: skip
    seam.check(radius, norm)
    plan = plan_of(steps, norm)

    def begin(problem: Problem, keys: Any, attempt: Array) -> _State:
        x = problem.x
        extra = jnp.zeros(len(x), int) if targets is None else runner_up(problem, attempt, targets)
        start = norm.start(keys, x, plan.radius[0] * radius, problem.low, problem.high)
        zeros, none = jnp.zeros(len(x), x.dtype), jnp.zeros(len(x), bool)
        return _State(start, start, x, start, x, zeros, x, none, zeros, zeros, zeros, zeros, none, zeros, zeros, extra)

    def step(problem: Problem, state: _State, i: Array) -> _State:
        now = Plan(*(jnp.asarray(table)[i] for table in plan))
        reach = radius * now.radius.astype(problem.x.dtype)
        state = rows(now.enters, _entered(problem, state, reach, norm), _moved(problem, state, now, reach, norm))
        gradient, values, wrong = ascent(problem, value, objective.fooled, samples)(state.x, state.extra, i)
        state = _seen(state, gradient, values, wrong & now.last, now.enters)
        check = _check_l1 if norm is L1 else _check
        return rows(now.window > 0, check(problem, state, now, reach), state)

    def found(problem: Problem, state: _State) -> Found:
        return Found(rows(state.fooled, state.adversarial, state.best), state.value, state.fooled)

    return Search(len(plan.enters), begin, step, found, lambda state: state.fooled, attempts)


def _entered(problem: Problem, state: _State, reach: Array, norm: Norm) -> _State:
    """The state at the begin of a stage, which goes on from the best of the stage before, brought into the ball."""
    x = norm.project(problem.x, state.best, reach, problem.low, problem.high) if norm is L1 else state.best
    moved = _count(x - problem.x)
    return state._replace(
        x=x, before=x, best=x, value=jnp.full_like(state.value, -jnp.inf), fooled=jnp.zeros_like(state.fooled),
        length=jnp.broadcast_to((1.0 if norm is L1 else 2.0) * reach, state.length.shape),
        halved=jnp.ones_like(state.halved), share=moved / flat(x).shape[1] / 1.5, moved=moved,
    )  # fmt: skip


def _moved(problem: Problem, state: _State, now: Plan, reach: Array, norm: Norm) -> _State:
    x, length = state.x, by_row(state.length, state.x)

    def project(y: Array) -> Array:
        return norm.project(problem.x, y, reach, problem.low, problem.high)

    if norm is L1:
        return state._replace(x=project(x + length * _sparse(state.gradient, state.share)), before=x)
    kept = by_row(jnp.where(now.first, 1.0, _KEPT), x)
    ahead = project(x + length * norm.steepest(state.gradient))
    return state._replace(x=project(x + (ahead - x) * kept + (x - state.before) * (1 - kept)), before=x)


def _seen(state: _State, gradient: Array, values: Array, wrong: Array, enters: Array) -> _State:
    """The state after the model has been evaluated at x."""
    higher = values > state.value
    best, of_best, value = rows(higher, (state.x, gradient, values), (state.best, state.of_best, state.value))
    rises = state.rises + (values > state.previous)
    return state._replace(
        gradient=gradient, best=best, of_best=of_best, value=value, fooled=state.fooled | wrong,
        adversarial=rows(wrong, state.x, state.adversarial),
        # The authors compare the first step with 0, too.
        previous=jnp.where(enters, 0, values), rises=jnp.where(enters, 0, rises),
        at_check=jnp.where(enters, value, state.at_check),
    )  # fmt: skip


def _check(problem: Problem, state: _State, now: Plan, reach: Array) -> _State:
    """Halves the step, and goes back to the best, where the objective did not rise often enough, or not at all."""
    del problem, reach
    wavers = state.rises <= _RISES * now.window
    halved = wavers | (~state.halved & (state.at_check >= state.value))
    x, gradient = rows(halved, (state.best, state.of_best), (state.x, state.gradient))
    length = jnp.where(halved, state.length / 2, state.length)
    return state._replace(
        x=x, gradient=gradient, length=length, halved=halved, at_check=state.value, rises=jnp.zeros_like(state.rises)
    )


def _check_l1(problem: Problem, state: _State, now: Plan, reach: Array) -> _State:
    """Begins anew from the best where it has become sparser, and shortens the step elsewhere."""
    del now
    moved = _count(state.best - problem.x)
    sparser = moved < 0.95 * state.moved
    x, gradient = rows(sparser, (state.best, state.of_best), (state.x, state.gradient))
    length = jnp.clip(jnp.where(sparser, reach, state.length / 1.5), reach / 10, reach)
    share = moved / flat(state.x).shape[1] / 1.5
    return state._replace(x=x, gradient=gradient, length=length, share=share, moved=moved)


def _sparse(gradient: Array, share: Float[Array, " B"]) -> Array:
    """Signs of the largest coordinates, a share of them, of sum 1."""
    rows_of = flat(jnp.abs(gradient))
    D = rows_of.shape[1]
    place = jnp.clip((1 - share) * D, 0, D - 1).astype(int)
    least = jnp.take_along_axis(jnp.sort(rows_of, axis=1), place[:, None], axis=1)
    signs = jnp.where(jnp.abs(gradient) >= by_row(least[:, 0], gradient), jnp.sign(gradient), 0)
    return signs / by_row(L1.size(signs) + 1e-10, signs)


def _count(step: Array) -> Float[Array, " B"]:
    """Number of coordinates that have moved."""
    return jnp.sum(flat(step) != 0, axis=1).astype(step.dtype)
