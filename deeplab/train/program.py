"""A compiled program that takes one or several steps in one dispatch, for a run or for members of a population."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from deeplab.core.backend import CPU_CONVOLUTION_OPTIONS, compile_lowered
from deeplab.core.errors import UserError
from deeplab.core.jaxpr import has_primitive
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.metrics.base import Metrics, in_double
from deeplab.scale import check_batch, state_shardings, to_device_memory
from deeplab.scale.plan import costs
from deeplab.train.check import check_labels
from deeplab.train.feed import Feed
from deeplab.train.members import MEMBERS, Members
from deeplab.train.state import State
from deeplab.train.step import make_guarded_step

MAX_STEPS = 256  # for a step of 0.1 ms, the overhead of a dispatch is then 1 %

# FLOPs. On a CPU a loop around a step copies its state: a tenth of the 85 ms of a GPT of 4 x 128, 4e9 FLOPs. A dispatch
# costs 0.2 ms, whatever the duration of the step.
_LONG = 1e9


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program: `program(state, item, start, count)` takes `count` steps, at most `max_steps`.

    It returns the new state (the old one is donated) and rows of (metrics, finite), one for each step: leaves
    [max_steps, ...], with members [max_steps, M, ...]. After a non-finite step a run takes no more steps, in this
    dispatch or the next; other members continue.

    Attributes:
      max_steps: Largest number of steps in one call.
      flops: Floating-point operations of the program, as XLA counts them; None if the backend does not report them.
      metrics: Abstract metrics of the rows.

    Example:
      >>> from deeplab.metrics.base import Mean
      >>> Program(1, None, {"loss": Mean(0, 0)}, None, None, None).merged([3.0, 2.0])["loss"].compute()
      1.5
    """

    max_steps: int
    flops: float | None
    metrics: Any
    _call: Callable[..., Any]
    _feed: Feed
    _expected: Any

    def merged(self, leaves: Sequence[Any]) -> Metrics:
        """Metrics from their leaves, as a checkpoint holds them; {} if there are no leaves."""
        if not leaves:
            return {}
        return jax.tree.unflatten(jax.tree.structure(self.metrics), [in_double(np.asarray(leaf)) for leaf in leaves])

    @property
    def temporary(self) -> int:
        """Bytes of temporary buffers on each device; 0 if the backend does not report them."""
        return getattr(self._call.memory_analysis(), "temp_size_in_bytes", 0)

    def text(self) -> str:
        """Instructions of the compiled program, each with the layer that it came from."""
        return self._call.as_text()

    def __call__(
        self, state: State, item: Any, start: int, count: int, floats: Any = None
    ) -> tuple[State, tuple[Metrics, jax.Array]]:
        feed = self._feed
        if feed.resident is None:
            _check_shapes(item, self._expected, start)
            placed = feed.put(item)
        else:
            padded = np.zeros((self.max_steps, *item.shape[1:]), np.int32)
            padded[:count] = item
            placed = feed.put(padded, axis=1)
        bounds = feed.replicate(np.array([start, count], np.int32))
        return self._call(state, feed.resident, placed, bounds, floats)


def compile_program(
    experiment: Experiment,
    state: State,
    feed: Feed,
    seed: int,
    runtime: Runtime = Runtime(),
    members: Members | None = None,
    options: Mapping[str, Any] | None = None,
) -> Program:
    """Compiles the training steps ahead of time; a later change of shape is an error, never a silent recompilation.

    Args:
      experiment: Experiment whose step is compiled; with members, the experiment of the first one.
      state: State whose shapes and shardings are used.
      feed: Training split.
      seed: Seed of the data order.
      runtime: Precision, accumulation, offload, and the largest number of steps in one dispatch.
      members: Members whose steps are taken together. None is a solo run, without a member axis.
      options: Options of XLA's compiler, besides those of the backend.

    Raises:
      UserError: The batch does not divide over the mesh, a label has no output, or the model cannot read the data.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state = dl.init(exp, jax.random.key(0))
      >>> feed = dl.make_feed(data, data.open("train"), dl.scale.make_mesh("data=1"))
      >>> program = compile_program(exp, state, feed, seed=0, runtime=Runtime(steps_per_dispatch=1))
      >>> state, (metrics, finite) = program(state, data.train_ids(0, seed=0), start=0, count=1)
      >>> int(state.step), finite.tolist()
      (1, [True])
    """
    check_batch(experiment.data.batch_size, feed.mesh, runtime.accumulate)
    if members is None:
        check_labels(experiment, feed, "train", runtime)
    ids = feed.train_ids(0, seed if members is None else members.seeds)
    take = _take(experiment, feed, runtime) if members is None else _take_each(members, feed, runtime)
    if members is None:
        floats, row = None, PartitionSpec()
        shardings = state_shardings(state, experiment.sharding_rules, feed.mesh, offload=runtime.offload)
    else:
        floats, row = members.placed(), PartitionSpec(None, "member")
        shardings = members.execution.shardings(state, offload=runtime.offload)
    # Replicated on each device, because every process reads the metrics.
    rows = NamedSharding(feed.mesh, PartitionSpec())

    def trace(run: Callable, item: Any) -> Any:
        if members is not None:
            specs = (MEMBERS, PartitionSpec(), MEMBERS if feed.resident is None else row, PartitionSpec(), MEMBERS)
            run = _from_host(members.execution.spread(run, specs, (MEMBERS, row)))
        jitted = jax.jit(run, donate_argnums=0, out_shardings=(shardings, rows))
        placed = feed.put(item, axis=0 if feed.resident is None else 1)
        with jax.set_mesh(feed.mesh):
            return jitted.trace(state, feed.resident, placed, feed.replicate(np.zeros(2, np.int32)), floats)

    loops = feed.resident is not None and not runtime.offload
    max_steps, convolves = (runtime.steps_per_dispatch or MAX_STEPS) if loops else 1, False
    if max_steps == 1 or jax.default_backend() == "cpu":
        item = feed.read(ids[0]) if feed.resident is None else ids
        traced = trace(_single(take, feed), item)
    if jax.default_backend() == "cpu":
        # In a loop on a CPU, the backward pass of a convolution is ten times slower.
        convolves = has_primitive(traced.jaxpr, "conv_general_dilated")
        if runtime.steps_per_dispatch is None and (convolves or _is_long(traced.jaxpr)):
            max_steps = 1
    if max_steps > 1:
        item = np.repeat(ids, max_steps, axis=0)
        traced = trace(_several(take, max_steps, alone=members is None), item)
    usual = CPU_CONVOLUTION_OPTIONS if convolves else {}
    compiled = compile_lowered(traced.lower(), {**usual, **(options or {})})
    cost = compiled.cost_analysis() or {}
    return Program(max_steps, cost.get("flops"), traced.out_info[1][0], compiled, feed, item)


def _is_long(jaxpr: Any) -> bool:
    """Whether a step takes so many FLOPs that its dispatch costs nothing beside it."""
    return costs.flops(costs.operations(jaxpr), products_only=True) > _LONG


def _take(experiment: Experiment, feed: Feed, runtime: Runtime) -> Callable:
    """One step of a solo run: `(floats, state, arrays, item, step) -> (state, metrics, finite)`.

    A state that is not at `step` has diverged before, and is left unchanged; a `step` of None is not compared.
    """
    guarded, last = make_guarded_step(experiment, runtime), experiment.num_steps - 1
    weight = experiment.data.train_weight(last)

    def take(floats: Any, state: State, arrays: Any, item: Any, step: Any) -> tuple[State, Metrics, jax.Array]:
        batch = feed.fetch(arrays, item)
        if not weight.all():  # the program of data that fill their last batch has no operation more
            ends = state.step > last - experiment.data.repeats
            batch = batch | {"weight": batch["weight"] * jnp.where(ends, weight, 1)}
        return guarded(state, batch, True if step is None else state.step == step)

    return take


def _take_each(members: Members, feed: Feed, runtime: Runtime) -> Callable:
    """One step of the members of a device: `_take` with a member axis in floats, state and item."""

    def take(floats: Any, state: State, arrays: Any, item: Any, step: Any) -> tuple[State, Metrics, jax.Array]:
        return _take(members.build(floats), feed, runtime)(floats, state, arrays, item, step)

    # Jitted, so that the programs of one step and of several share one trace.
    return jax.jit(members.execution.over_members(take, (0, 0, None, 0, None)))


def _single(take: Callable, feed: Feed) -> Callable:
    def run(
        state: State, arrays: Any, item: Any, bounds: jax.Array, floats: Any
    ) -> tuple[State, tuple[Metrics, jax.Array]]:
        item = item if feed.resident is None else item[0]
        state, metrics, finite = take(floats, state, arrays, item, bounds[0])
        return state, jax.tree.map(lambda x: x[None], (metrics, finite))

    return run


def _several(take: Callable, max_steps: int, *, alone: bool) -> Callable:
    def run(
        state: State, arrays: Any, ids: jax.Array, bounds: jax.Array, floats: Any
    ) -> tuple[State, tuple[Metrics, jax.Array]]:
        start, count = bounds[0], bounds[1]

        @jax.jit  # so that the shapes of a row and the loop share one trace
        def step(i: jax.Array, state: State) -> tuple[State, Metrics, jax.Array]:
            return take(floats, state, arrays, ids[i], None if alone else start + i)

        shapes = jax.eval_shape(step, jnp.zeros((), jnp.int32), state)[1:]
        rows = jax.tree.map(lambda s: jnp.zeros((max_steps, *s.shape), s.dtype), shapes)

        def body(carry: tuple) -> tuple:
            i, state, rows = carry
            state, metrics, finite = step(i, state)
            return i + 1, state, jax.tree.map(lambda r, x: r.at[i].set(x), rows, (metrics, finite))

        def going(carry: tuple) -> jax.Array:
            i, state, _ = carry
            # A solo run ends at its first non-finite step; members continue without those that diverged.
            return (i < count) & (state.step == start + i) if alone else i < count

        _, state, rows = jax.lax.while_loop(going, body, (jnp.zeros((), jnp.int32), state, rows))
        return state, rows

    return run


def _from_host(run: Callable) -> Callable:
    """Moves offloaded optimizer state to device memory, before members are split over the devices."""
    return lambda state, *rest: run(to_device_memory(state), *rest)


def _check_shapes(batch: Any, expected: Any, step: int) -> None:
    for name in expected | batch:
        given, wanted = (_describe(tree.get(name)) for tree in (batch, expected))
        if given != wanted:
            raise UserError(
                f'batch["{name}"] of training step {step} is {given}, but the step was compiled for {wanted}; every '
                "batch must have the shapes and dtypes of the first"
            )


def _describe(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype}[{','.join(map(str, array.shape))}]"
