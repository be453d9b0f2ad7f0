"""An attack as a search: a state of each example, one step after another, some attempts, and what was found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from deeplab.core.abstract.convolutions import canonical
from deeplab.robust.attacks.norms import by_row
from deeplab.robust.attacks.objectives import Batch
from deeplab.robust.attacks.seam import Problem, Seam

T = TypeVar("T")
_BEYOND = 5e-6  # of the way, so that rounding, which differs by the program, does not take the success back
Value = Callable[[Any, Batch, Any], Float[Array, " B"]]
"""`value(outputs, batch, extra)`: the objective, with what the search keeps of each example, such as its target."""


class Found(NamedTuple):
    """The best of each example so far.

    Attributes:
      x: Point.
      value: How good it is; larger is better.
      fooled: Whether the attack has succeeded there.
    """

    x: Float[Array, "B ..."]
    value: Float[Array, " B"]
    fooled: Bool[Array, " B"]


@dataclasses.dataclass(frozen=True)
class Search:
    """The parts of an attack, all of them functions of rows of examples, which may be at different steps.

    Attributes:
      steps: Number of steps of an attempt.
      begin: `begin(problem, keys, attempt)` to the state of examples, of which `attempt` [B] is the number of the
        restart, or of the target.
      step: `step(problem, state, i)` to the next state, at step i [B] of each example.
      found: `found(problem, state)`: the best of this attempt.
      done: `done(state)`: whether nothing more is needed of an example, [B], so that a host may leave off early.
      attempts: Number of attempts.
    """

    steps: int
    begin: Callable[[Problem, PRNGKeyArray, Int[Array, " B"]], Any]
    step: Callable[[Problem, Any, Int[Array, " B"]], Any]
    found: Callable[[Problem, Any], Found]
    done: Callable[[Any], Bool[Array, " B"]]
    attempts: int = 1


@dataclasses.dataclass(frozen=True)
class Searching:
    """The attack that makes a search at a seam: one scan over its steps, within one over its attempts.

    Attributes:
      search: The search.
      seam: Where it acts.
    """

    search: Search
    seam: Seam

    def __call__(self, apply: Any, batch: Batch, key: PRNGKeyArray) -> Batch:
        problem, search = self.seam.problem(apply, batch, key), self.search
        size = len(problem.x)

        def step(state: Any, i: Array) -> tuple[Any, None]:
            return search.step(problem, state, jnp.broadcast_to(i, (size,))), None

        def attempt(number: Any) -> Found:
            numbers = jnp.broadcast_to(number, (size,))
            state = search.begin(problem, keys_of(problem.keys, numbers), numbers)
            return search.found(problem, jax.lax.scan(step, state, jnp.arange(search.steps))[0])

        first = attempt(0)
        if search.attempts == 1:
            return self.seam.moved(problem, first.x)
        more = lambda found, number: (better(found, attempt(number)), None)  # noqa: E731
        found, _ = jax.lax.scan(more, first, jnp.arange(1, search.attempts))
        return self.seam.moved(problem, found.x)


def keys_of(keys: PRNGKeyArray, numbers: Int[Array, " B"]) -> PRNGKeyArray:
    """A key for each example and number."""
    return jax.vmap(jax.random.fold_in)(keys, numbers)


def rows(chosen: Bool[Array, " B"], a: T, b: T) -> T:
    """The rows of a where chosen, those of b elsewhere."""
    return jax.tree.map(lambda x, y: jnp.where(by_row(chosen, x), x, y), a, b)


def better(a: Found, b: Found) -> Found:
    """Of each example the success, or else the larger value; the first of equals."""
    return rows((b.fooled & ~a.fooled) | ((b.fooled == a.fooled) & (b.value > a.value)), b, a)


def drawn_back(
    problem: Problem, x: Float[Array, "B ..."], fooled: Callable[[Any, Batch], Array], halvings: int
) -> Float[Array, "B ..."]:
    """The point nearest to the example on the way from x back to it that is still a success, by halving the way."""
    if not halvings:
        return x
    told = canonical(lambda x: fooled(problem.outputs(x, problem.key), problem.batch))

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        near, far = ends
        middle = (near + far) / 2
        success = told(problem.x + by_row(middle, x) * (x - problem.x))
        return jnp.where(success, near, middle), jnp.where(success, middle, far)

    ends = (jnp.zeros(len(x), x.dtype), jnp.ones(len(x), x.dtype))
    far = jnp.minimum(jax.lax.fori_loop(0, halvings, halve, ends)[1] + _BEYOND, 1)
    return problem.x + by_row(far, x) * (x - problem.x)


def ascent(
    problem: Problem, value: Value, fooled: Callable[[Any, Batch], Array], samples: int = 1
) -> Callable[[Array, Any, Any], tuple[Array, Array, Array]]:
    """The function `(x, extra, i)` to the gradient, the value and the success of each example at x.

    The gradient is the mean over samples of a model that is random itself (Athalye et al. 2018,
    https://arxiv.org/abs/1802.00420); a success is one in most of them.

    Args:
      problem: What the attack sees.
      value: Objective.
      fooled: Success.
      samples: Number of samples.
    """

    def total(x: Array, extra: Any, key: PRNGKeyArray) -> tuple[Array, tuple[Array, Array]]:
        outputs = problem.outputs(x, key)
        values = value(outputs, problem.batch, extra)
        return jnp.sum(values), (values, fooled(outputs, problem.batch).astype(values.dtype))

    # Canonical, since a gradient of convolutions within a loop is slow on a CPU otherwise.
    slope = canonical(jax.grad(canonical(total), has_aux=True))

    def at(x: Array, extra: Any, i: Any) -> tuple[Array, Array, Array]:
        key = jax.random.fold_in(problem.key, jnp.max(jnp.asarray(i)))
        if samples == 1:
            gradient, (values, success) = slope(x, extra, key)
            return gradient, values, success > 0.5

        def more(sums: Any, number: Array) -> tuple[Any, None]:
            gradient, (values, success) = slope(x, extra, jax.random.fold_in(key, number))
            return jax.tree.map(jnp.add, sums, (gradient, values, success)), None

        nothing = (jnp.zeros_like(x), jnp.zeros(len(x), x.dtype), jnp.zeros(len(x), x.dtype))
        gradient, values, success = jax.tree.map(
            lambda s: s / samples, jax.lax.scan(more, nothing, jnp.arange(samples))[0]
        )
        return gradient, values, success > 0.5

    return at
