"""A population: many small runs through one program, the experiment's step over its floats and its seeds.

A member is what `train` makes of its arguments and its seed: the same first weights, the same examples in the same
order, evaluated at the same steps, and the same numbers but for rounding. Members that differ in anything but floats
and seed are other programs; `groups` tells them apart. A member that diverges stays what it was before that step, and
the others go on.

How many members share a program is a `Way`; a group with more of them is cut into `chunks`, which share its
compilation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.metrics.base import Metrics
from deeplab.search.execution import MEMBERS, Way
from deeplab.search.groups import Group
from deeplab.search.programs import MAX_STEPS, Programs
from deeplab.train.evaluate import merged, over_batches
from deeplab.train.feed import Feed
from deeplab.train.initialize import init as init_member
from deeplab.train.state import State
from deeplab.train.step import choose, make_eval

Probe = Callable[[Experiment, Runtime], Callable[[State, Batch], Metrics]]
"""What is measured of a member: `probe(experiment, runtime)(state, raw batch)` gives metrics, as `make_eval` does."""


Init = Callable[[Group], State]
"""From a chunk to the states of its members before the first step, each leaf [M, ...]."""


def make_init(group: Group, way: Way) -> Init:
    """A function that makes the states of a chunk.

    Each member is made by the same program, that of its solo run, and has its very bits: where training is chaotic a
    last bit grows to 1e-3 of the loss in 20 steps. A program of all members would be another for each number of them.
    """

    @jax.jit
    def one(floats: Any, seed: Any) -> State:
        return init_member(group.experiment(floats), jax.random.key(seed), group.runtime)

    def init(chunk: Group) -> State:
        floats, seeds = chunk.floats, chunk.seeds
        return way.stack(one({name: v[m] for name, v in floats.items()}, seeds[m]) for m in range(len(seeds)))

    return init


Evaluate = Callable[[Group, State], list[dict[str, float]]]
"""From a chunk and its members' states to the metrics of each."""


def make_evaluator(group: Group, way: Way, feed: Feed, split: str, probe: Probe = make_eval) -> Evaluate:
    """A function from a chunk of a group and its states to what `probe` measures over one exact pass of a split."""

    def one(floats: Any, state: State, batch: Batch) -> Metrics:
        return probe(group.experiment(floats), group.runtime)(state, batch)

    members = way.spread(way.over_members(one, (0, 0, None)), (MEMBERS, MEMBERS, P()))
    over = over_batches(lambda carried, batch: members(*carried, batch), feed, split)

    def evaluate(chunk: Group, state: State) -> list[dict[str, float]]:
        return _by_member(merged(over((way.place(chunk.floats), state))), len(chunk.members))

    return evaluate


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a chunk is at an evaluation.

    Attributes:
      step: steps since the start. A member whose own `state.step` lags behind has diverged.
      state: of the members, [M, ...] each.
      best: likewise, of each member's best evaluation by the experiment's monitor.
      scores: of those evaluations, [M]; larger is better, and -inf stands for none that is finite.
      train: the metrics of training since the last evaluation, by member; NaN where no step was taken.
      evaluation: those of the evaluation, by member.
    """

    step: int
    state: State
    best: State
    scores: np.ndarray
    train: list[dict[str, float]] = dataclasses.field(default_factory=list)
    evaluation: list[dict[str, float]] = dataclasses.field(default_factory=list)


def start(chunk: Group, init: Init) -> Progress:
    """Before the first step."""
    state = init(chunk)
    return Progress(0, state, state, np.full(len(chunk.members), -math.inf))


def gather(parts: Sequence[Progress], members: Sequence[int], way: Way) -> Progress:
    """The members of these numbers, counted through all parts, which are at the same step; taken on the devices."""
    where = np.array(members, np.int32)
    states, bests = [part.state for part in parts], [part.best for part in parts]
    state, best = (way.place(_take(trees, where)) for trees in (states, bests))
    return Progress(parts[0].step, state, best, np.concatenate([part.scores for part in parts])[where])


def train(
    programs: Programs, evaluate: Evaluate, chunk: Group, begin: Progress, until: int | None = None
) -> Iterator[Progress]:
    """Trains a chunk, with a stop at each evaluation; effects are the caller's.

    Args:
      programs: of its group.
      evaluate: the metrics by which the best states are kept, see `make_evaluator`.
      chunk: its members, as many as the programs were compiled for.
      begin: where they are, see `start`.
      until: the step to stop after, one of an evaluation; the end when None.
    """
    experiment = chunk.experiment()
    end, every = experiment.num_steps, experiment.cadence
    step, state, best, scores = begin.step, begin.state, begin.best, begin.scores
    totals: list[Metrics] = []
    while step < (end if until is None else until):
        stop = min(end, (step // every + 1) * every, step + MAX_STEPS)
        state, parts = programs.take(chunk, state, step, stop)
        totals += parts
        step = stop
        if step % every and step < end:
            continue
        evaluation = evaluate(chunk, state)
        new = np.array([experiment.monitor.score(metrics) for metrics in evaluation])
        best, scores = _choose(new > scores, state, best), np.maximum(new, scores)
        yield Progress(step, state, best, scores, _by_member(merged(totals), len(chunk.members)), evaluation)
        totals = []


@jax.jit
def _choose(better: jax.Array, new: State, old: State) -> State:
    return jax.vmap(choose)(better, new, old)


@jax.jit
def _take(states: Sequence[State], members: jax.Array) -> State:
    return jax.tree.map(lambda *x: jnp.concatenate(x)[members], *states)


def _by_member(metrics: Metrics, size: int) -> list[dict[str, float]]:
    """Metrics of which every leaf is [M, ...], computed for each member."""
    metrics = jax.tree.map(np.asarray, metrics)
    return [
        {name: jax.tree.map(lambda x: x[m], metric).compute() for name, metric in metrics.items()}  # noqa: B023
        for m in range(size)
    ]
