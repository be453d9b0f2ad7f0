"""Many examples in a few places: where a search ends with an example, another takes its place, in one program.

So the examples that an attack has beaten cost nothing more, no place is idle, and no program depends on their number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray
from numpy import ndarray

from deeplab.robust.attacks.evaluation.measure import taken, with_arguments
from deeplab.robust.attacks.objectives import Batch
from deeplab.robust.attacks.seam import Seam
from deeplab.robust.attacks.search import Search, keys_of, rows

Made = Callable[[Any], Search]
"""From the radius, which may be a tracer, to a search."""

_SEGMENTS = 25  # that the steps of an attempt are run in, but of 4 steps at least
_REFILL = 8  # a part of the places that has to be free, before others enter


class Programs:
    """The programs of one search, compiled at their first call for each number of places.

    Args:
      apply: Bound model.
      made: Function from the radius to the search.
      seam: Where it acts.
    """

    def __init__(self, apply: Any, made: Made, seam: Seam):
        def problem(apply: Any, batch: Batch, key: PRNGKeyArray) -> Any:
            return seam.problem(apply, batch, key)

        def begin(apply: Any, batch: Batch, key: PRNGKeyArray, radius: Any, attempt: Any) -> Any:
            given = problem(apply, batch, key)
            return made(radius).begin(given, keys_of(given.keys, attempt), attempt)

        def advance(apply: Any, batch: Batch, key: PRNGKeyArray, radius: Any, state: Any, i: Any, count: Any) -> Any:
            given, search = problem(apply, batch, key), made(radius)

            def step(_: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
                state, i = carry
                ended = i >= search.steps
                moved = search.step(given, state, jnp.minimum(i, search.steps - 1))
                return rows(ended | search.done(state), state, moved), i + 1

            state, _ = jax.lax.fori_loop(0, count, step, (state, i))
            return state, search.done(state)

        def found(apply: Any, batch: Batch, key: PRNGKeyArray, radius: Any, state: Any) -> Any:
            return made(radius).found(problem(apply, batch, key), state)

        self.begin, self.advance, self.found = (with_arguments(apply, function) for function in (begin, advance, found))
        self.enter = jax.jit(rows)
        self.search = made(1.0)


@dataclasses.dataclass
class _Places:
    """Who is where: the row of the example [P], -1 where nobody is, the step it is at, and the attempt."""

    row: Int[ndarray, " P"]
    step: Int[ndarray, " P"]
    attempt: Int[ndarray, " P"]


def places_for(count: int, most: int) -> int:
    """A number of places for some examples, of a few such numbers: powers of 2 and their halves more.

    Example:
      >>> [places_for(count, 256) for count in (3, 70, 100, 250, 900)]
      [8, 96, 128, 256, 256]
    """
    rounds = -(-count // most)
    sizes = [size for power in range(3, 20) for size in (2**power, 3 * 2 ** (power - 1)) if size < most]
    return min([size for size in [*sizes, most] if size >= count / rounds])


def run(
    programs: Programs, batch: Batch, radius: Any, key: PRNGKeyArray, most: int, seam: Seam
) -> tuple[Float[ndarray, "N ..."], Bool[ndarray, " N"]]:
    """Searches for all examples of a batch on the host.

    Args:
      programs: Programs of the search.
      batch: Examples on the host, all of which count.
      radius: Radius.
      key: Key of the attack.
      most: Largest number of places.
      seam: Where the attack acts.

    Returns:
      The points that were found, and whether they are successes; of an example without one, itself.
    """
    search, N = programs.search, len(batch["id"])
    P = places_for(N, most)
    segment = max(4, search.steps // _SEGMENTS)
    waiting = list(range(N))[::-1]
    at = _Places(np.full(P, -1), np.zeros(P, int), np.zeros(P, int))
    points, fooled = np.array(batch[seam.name]), np.zeros(N, bool)
    state = given = None
    while waiting or (at.row >= 0).any():
        free = np.flatnonzero(at.row < 0)
        if waiting and (state is None or len(free) >= P // _REFILL or len(free) >= len(waiting) or len(free) == P):
            for place in free[: len(waiting)]:
                at.row[place], at.step[place], at.attempt[place] = waiting.pop(), 0, 0
        new = (at.row >= 0) & (at.step == 0)
        if new.any() or given is None:
            given = taken(batch, np.maximum(at.row, 0), P)
            fresh = programs.begin(given, key, radius, jnp.asarray(at.attempt))
            state = fresh if state is None else programs.enter(jnp.asarray(new), fresh, state)
        left = search.steps - at.step[at.row >= 0].min(initial=search.steps)
        count = int(min(segment, max(left, 1)))
        state, done = programs.advance(given, key, radius, state, jnp.asarray(at.step), count)
        at.step += count
        done = np.asarray(done) & (at.row >= 0)
        ended = (at.row >= 0) & (at.step >= search.steps)
        if done.any() or ended.any():
            _leave(programs, at, state, given, (key, radius), done, ended, points, fooled)
    return points, fooled


def _leave(
    programs: Programs, at: _Places, state: Any, given: Batch, rest: tuple[Any, Any], done: Any, ended: Any,
    points: Any, fooled: Any,
) -> None:  # fmt: skip
    """Takes down what was found; who has attempts left begins the next, and the others free their places."""
    key, radius = rest
    found = jax.device_get(programs.found(given, key, radius, state))
    success = (done | ended) & found.fooled
    points[at.row[success]], fooled[at.row[success]] = found.x[success], True
    again = ended & ~success & (at.attempt + 1 < programs.search.attempts)
    at.attempt[again] += 1
    at.step[again] = 0
    at.row[(done | ended) & ~again] = -1
