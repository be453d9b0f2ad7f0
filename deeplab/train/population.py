"""A population: many small runs as one program, `vmap` of an experiment over its floats and its seeds.

A member is what `train` makes of its arguments and its seed: the same first weights, the same examples in the same
order, evaluated at the same steps, and the same numbers but for rounding. Members that differ in anything but floats
and seed are other programs; `groups` tells them apart. A member that diverges stays what it was before that step, and
the others go on.

On a CPU a convolution inside the loop over steps is slow: run such members one by one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.data.base import Batch
from deeplab.errors import UserError
from deeplab.experiment import Experiment, traced_arguments
from deeplab.tasks.base import Metrics
from deeplab.train import state as solo
from deeplab.train.evaluate import merged, over_batches
from deeplab.train.feed import Feed
from deeplab.train.state import State
from deeplab.train.step import choose, guard, make_eval, make_step

MAX_STEPS = 256  # in one dispatch: what is held of the order of the examples

Probe = Callable[[Experiment], Callable[[State, Batch], Metrics]]
"""What is measured of a member: `probe(experiment)(state, raw batch)` gives metrics, as `make_eval` does."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of a population: what `train` would be given."""

    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Group:
    """Members, M of them, that differ in floats and seed only.

    Args:
      function: the experiment, a function of its hyper-parameters.
      members: its floats, where a member does not give them, are the function's defaults.
    """

    function: Callable[..., Experiment]
    members: Sequence[Member]

    @property
    def floats(self) -> dict[str, np.ndarray]:
        """What is traced, by argument, [M] each."""
        defaults = traced_arguments(self.function).items()
        return {k: np.array([m.arguments.get(k, v) for m in self.members], np.float32) for k, v in defaults}

    @property
    def seeds(self) -> np.ndarray:
        return np.array([member.seed for member in self.members], np.uint32)

    def experiment(self, floats: Mapping[str, Any] | None = None) -> Experiment:
        """That of one member, whose floats may be tracers; of the first one when None."""
        return self.function(**{**self.members[0].arguments, **(floats or {})})


def groups(function: Callable[..., Experiment], members: Sequence[Member]) -> list[Group]:
    """Members by the program that can run them, in the order of their appearance.

    Example:
      >>> def experiment(width: int = 8, learning_rate: float = 0.1): ...
      >>> members = [Member({"width": w, "learning_rate": r}) for r in (0.1, 0.2) for w in (8, 16)]
      >>> [[m.arguments["learning_rate"] for m in group.members] for group in groups(experiment, members)]
      [[0.1, 0.2], [0.1, 0.2]]
    """
    traced = traced_arguments(function)
    found: dict[str, list[Member]] = {}
    for member in members:
        shape = sorted((name, value) for name, value in member.arguments.items() if name not in traced)
        found.setdefault(repr(shape), []).append(member)
    return [Group(function, same) for same in found.values()]


def init(group: Group) -> State:
    """The states before the first step, each leaf [M, ...]; pure.

    Example:
      >>> from experiments.image_digits import experiment
      >>> init(Group(experiment, [Member(seed=s) for s in range(3)])).step.shape
      (3,)
    """

    def one(floats: Any, seed: Any) -> State:
        return solo.init(group.experiment(floats), jax.random.key(seed))

    # Not jitted: op by op, each shape is compiled once for all groups, and 32 layers at once take 5 s.
    return jax.vmap(one)(group.floats, group.seeds)


def make_evaluator(
    group: Group, feed: Feed, split: str, probe: Probe = make_eval
) -> Callable[[State], list[dict[str, float]]]:
    """A function from the members' states to what `probe` measures of each over one exact pass of a split."""

    def members(state: State, batch: Batch) -> Metrics:
        def one(floats: Any, state: State) -> Metrics:
            return probe(group.experiment(floats))(state, batch)

        return jax.vmap(one)(group.floats, state)

    over = over_batches(members, feed, split)

    def evaluate(state: State) -> list[dict[str, float]]:
        return _by_member(merged(over(state)), len(group.members))

    return evaluate


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a group is at an evaluation.

    Attributes:
      step: steps since the start. A member whose own `state.step` lags behind has diverged.
      state: of the members, [M, ...] each.
      best: likewise, of each member's best evaluation by the experiment's monitor.
      train: the metrics of training since the last evaluation, by member; NaN where no step was taken.
      evaluation: those of the evaluation, by member.
    """

    step: int
    state: State
    best: State
    train: list[dict[str, float]]
    evaluation: list[dict[str, float]]


def train(
    group: Group, state: State, feed: Feed, evaluate: Callable[[State], list[dict[str, float]]]
) -> Iterator[Progress]:
    """Trains a group to its end, with a stop at each evaluation; effects are the caller's.

    Args:
      group: its members.
      state: where they begin, see `init`.
      feed: the training split, on the device.
      evaluate: the metrics by which the best states are kept, see `make_evaluator`.

    Raises:
      UserError: the training split does not fit the device.
    """
    if feed.resident is None:
        raise UserError("a population shares its data on the device, and these do not fit there; train one by one")
    experiment = group.experiment()
    end, every = experiment.num_steps, experiment.cadence
    most = min(every, end, MAX_STEPS)
    program = functools.partial(_program(group, feed), group.floats)
    state = best = feed.replicate(state)  # laid out as every later one is: one compilation
    scores = np.full(len(group.members), -math.inf)
    step, totals = int(np.max(state.step)), []
    while step < end:
        stop = min(end, (step // every + 1) * every, step + most)
        ids = np.zeros((most, len(group.members), experiment.data.batch_size), np.int32)
        for m, member in enumerate(group.members):
            ids[: stop - step, m] = experiment.data.train_ids(step, member.seed, stop - step)
        state, total = program(state, feed.resident, ids, np.array([step, stop - step], np.int32))
        totals.append(total)
        step = stop
        if step % every and step < end:
            continue
        evaluation = evaluate(state)
        new = np.array([_score(metrics, experiment.monitor) for metrics in evaluation])
        best, scores = _choose(new > scores, state, best), np.maximum(new, scores)
        yield Progress(step, state, best, _by_member(merged(totals), len(group.members)), evaluation)
        totals = []


def _program(group: Group, feed: Feed) -> Callable[..., tuple[State, Metrics]]:
    """`(floats, states, arrays, ids [S, M, B], [start, count])` to the later states, and the sums of metrics."""

    def take(floats: Any, state: State, ids: jax.Array, step: jax.Array, arrays: Any) -> tuple[State, Metrics]:
        step_once = guard(make_step(group.experiment(floats)))
        # The step of a member that was refused once lags behind, and then it is refused for ever.
        new, metrics, _ = step_once(state, feed.fetch(arrays, ids), state.step == step)
        return new, jax.tree.map(lambda x: jnp.where(new.step > state.step, x, jnp.zeros_like(x)), metrics)

    # Jitted, so that to ask for its shapes and to call it in the loop is one trace.
    members = jax.jit(jax.vmap(take, in_axes=(0, 0, 0, None, None)))

    def run(floats: Any, state: State, arrays: Any, ids: jax.Array, bounds: jax.Array) -> tuple[State, Metrics]:
        def body(i: jax.Array, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
            new, metrics = members(floats, carry[0], ids[i], bounds[0] + i, arrays)
            return new, jax.tree.map(jnp.add, carry[1], metrics)

        shapes = jax.eval_shape(members, floats, state, ids[0], bounds[0], arrays)[1]
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return jax.lax.fori_loop(0, bounds[1], body, (state, nothing))

    return jax.jit(run)


@jax.jit
def _choose(better: jax.Array, new: State, old: State) -> State:
    return jax.vmap(choose)(better, new, old)


def _score(metrics: Mapping[str, float], monitor: str) -> float:
    value = metrics[monitor.removeprefix("-")]
    return (-value if monitor.startswith("-") else value) if math.isfinite(value) else -math.inf


def _by_member(metrics: Metrics, size: int) -> list[dict[str, float]]:
    """Metrics of which every leaf is [M, ...], computed for each member."""
    metrics = jax.tree.map(np.asarray, metrics)
    return [
        {name: jax.tree.map(lambda x: x[m], metric).compute() for name, metric in metrics.items()}  # noqa: B023
        for m in range(size)
    ]
