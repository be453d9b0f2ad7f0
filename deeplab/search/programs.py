"""The compiled training steps of a population: one program for every chunk of a group."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from deeplab.metrics.base import Metrics
from deeplab.search import execution
from deeplab.search.execution import MEMBERS, Way
from deeplab.search.groups import Group, chunks
from deeplab.train.feed import Feed
from deeplab.train.initialize import init as init_member
from deeplab.train.program import CPU_CONVOLUTION_OPTIONS, compile_lowered
from deeplab.train.state import State
from deeplab.train.step import guard, make_step

MAX_STEPS = 256  # in one dispatch: what is held of the order of the examples


def choose_way(group: Group, feed: Feed, how: execution.How = "auto", at_once: int | None = None) -> Way:
    """How a group runs on the devices of its feed, see `execution.choose`."""
    floats = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in group.floats}
    state = _state(group)

    def step(floats: Any, state: State, item: Any) -> Any:
        return make_step(group.experiment(floats), group.runtime)(state, feed.fetch(feed.resident, item))

    item = jax.tree.map(lambda x: x[0, 0], _items(dataclasses.replace(group, members=group.members[:1]), feed, 0, 1))
    num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    return execution.choose(step, (floats, state, item), num_params, len(group.members), feed, how, at_once)


def _state(group: Group) -> State:
    """The shapes of a member's state."""
    floats = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in group.floats}
    return jax.eval_shape(lambda f: init_member(group.experiment(f), jax.random.key(0), group.runtime), floats)


@dataclasses.dataclass(frozen=True)
class Programs:
    """The training steps of a group's chunks.

    Attributes:
      way: how many members a chunk has, and where they are.
      feed: the training split.
      max_steps: of one dispatch.
      compile_seconds: what compiling took.
    """

    way: Way
    feed: Feed
    max_steps: int
    compile_seconds: float
    _call: Callable[..., tuple[State, Metrics]]

    def take(self, chunk: Group, state: State, start: int, stop: int) -> tuple[State, list[Metrics]]:
        """The members after steps `start` to `stop`, at most `MAX_STEPS`, and the sums of their metrics, in parts."""
        floats, items, totals = self.way.place(chunk.floats), _items(chunk, self.feed, start, stop - start), []
        for first in range(0, stop - start, self.max_steps):
            part = jax.tree.map(lambda x: x[first : first + self.max_steps], items)  # noqa: B023 (called at once)
            bounds = np.array([start + first, min(self.max_steps, stop - start - first)], np.int32)
            state, total = self._call(floats, state, self.feed.resident, _padded(part, self.max_steps), bounds)
            totals.append(total)
        return state, totals


def compile_programs(group: Group, way: Way, feed: Feed) -> Programs:
    """Compiles the training steps of a group's chunks."""
    began = time.monotonic()
    chunk, experiment = chunks(group, way.at_once)[0], group.experiment()
    slow_in_loops = jax.default_backend() == "cpu" and way.convolution
    single = slow_in_loops or feed.resident is None
    max_steps = 1 if single else min(experiment.cadence, experiment.num_steps, MAX_STEPS)
    placed = NamedSharding(way.mesh, MEMBERS)
    shape = functools.partial(jax.ShapeDtypeStruct, sharding=placed)
    state = jax.tree.map(lambda s: shape((way.at_once, *s.shape), s.dtype), _state(group))
    items, bounds = _padded(_items(chunk, feed, 0, 1), max_steps), np.zeros(2, np.int32)
    jitted = jax.jit(_steps(group, way, feed, max_steps), out_shardings=placed)
    lowered = jitted.lower(way.place(chunk.floats), state, feed.resident, items, bounds)
    call = compile_lowered(lowered, CPU_CONVOLUTION_OPTIONS if slow_in_loops else {})
    return Programs(way, feed, max_steps, time.monotonic() - began, call)


def _items(chunk: Group, feed: Feed, step: int, count: int) -> Any:
    """What the steps read, [count, M, ...]: example numbers where the data are on the device, and else the batches."""
    data = feed.data
    ids = {seed: data.train_ids(step, seed, count) for seed in {member.seed for member in chunk.members}}
    if feed.resident is None:
        ids = {
            seed: jax.tree.map(lambda *x: np.stack(x), *[data.fetch(feed.source, row) for row in rows])
            for seed, rows in ids.items()
        }
    return jax.tree.map(lambda *x: np.stack(x, axis=1), *[ids[member.seed] for member in chunk.members])


def _padded(items: Any, size: int) -> Any:
    return jax.tree.map(lambda x: np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)]), items)


def _steps(group: Group, way: Way, feed: Feed, max_steps: int) -> Callable[..., tuple[State, Metrics]]:
    """`(floats, states, arrays, items [S, M, ...], [start, count])` to the later states, and the sums of metrics."""

    def take(floats: Any, state: State, item: Any, step: jax.Array, arrays: Any) -> tuple[State, Metrics]:
        step_once = guard(make_step(group.experiment(floats), group.runtime))
        # The step of a member that was refused once lags behind, and then it is refused for ever.
        new, metrics, _ = step_once(state, feed.fetch(arrays, item), state.step == step)
        return new, jax.tree.map(lambda x: jnp.where(new.step > state.step, x, jnp.zeros_like(x)), metrics)

    # Jitted, so that to ask for its shapes and to call it in the loop is one trace.
    members = jax.jit(way.over_members(take, (0, 0, 0, None, None)))

    def run(floats: Any, state: State, arrays: Any, items: Any, bounds: jax.Array) -> tuple[State, Metrics]:
        def at(i: Any) -> Any:
            return jax.tree.map(lambda x: x[i], items)

        if max_steps == 1:
            return members(floats, state, at(0), bounds[0], arrays)

        def body(i: jax.Array, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
            new, metrics = members(floats, carry[0], at(i), bounds[0] + i, arrays)
            return new, jax.tree.map(jnp.add, carry[1], metrics)

        shapes = jax.eval_shape(members, floats, state, at(0), bounds[0], arrays)[1]
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return jax.lax.fori_loop(0, bounds[1], body, (state, nothing))

    return way.spread(run, (MEMBERS, MEMBERS, P(), P(None, "member"), P()))
