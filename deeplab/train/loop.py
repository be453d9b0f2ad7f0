"""The training loop: dispatches pure steps, and calls hooks for every side effect.

The host does not wait for the device: the metrics of one dispatch are read after the next has been sent. Where it is
faster, a dispatch loops over several steps inside the compiled program. The number of steps may change between
dispatches without changing a bit of the result, because the program is the same. With several processes, process 0
decides the number of steps of each dispatch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.metrics.base import Metrics, in_double
from deeplab.scale import processes
from deeplab.train.feed import Feed
from deeplab.train.members import Members
from deeplab.train.pace import Pace
from deeplab.train.program import Program, compile_program
from deeplab.train.state import State


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of the loop, the argument of a hook.

    Attributes:
      step: Number of steps taken.
      num_steps: Number of steps in all.
      metrics: Metrics merged over the steps since the last multiple of `log_every`, on the host; {} if there are
        none. With members, leaves are [M, ...], merged over the steps that each member has taken.
      state: State after `step`, for the hooks of `on_state`; valid until the hook returns. A member whose own
        `state.step` is smaller has diverged.
      stalled: Total time in which the device was idle because its next batch was not ready, in seconds.

    Example:
      >>> progress = Progress(step=30, num_steps=120, metrics={})
      >>> progress.step / progress.num_steps
      0.25
    """

    step: int
    num_steps: int
    metrics: Metrics
    state: State | None = None
    stalled: float = 0.0


@dataclasses.dataclass(frozen=True)
class Hook:
    """A callback and when it is called; made by `on_log`, `on_dispatch` and `on_state`.

    Example:
      >>> on_state(100, print) == Hook(print, "state", every=100)
      True
    """

    call: Callable[[Progress], None]
    moment: Literal["log", "dispatch", "state"]
    every: int = 1


def on_log(call: Callable[[Progress], None]) -> Hook:
    """Calls every `log_every` steps and after the last, one dispatch late, so that the device does not wait.

    Example:
      >>> hook = on_log(lambda progress: print(progress.step))
    """
    return Hook(call, "log")


def on_dispatch(call: Callable[[Progress], None]) -> Hook:
    """Calls after every dispatch whose metrics have been read, such as for a progress bar.

    Example:
      >>> hook = on_dispatch(lambda progress: print(progress.step))
    """
    return Hook(call, "dispatch")


def on_state(every: int, call: Callable[[Progress], None]) -> Hook:
    """Calls with the state every `every` steps and after the last; the loop waits for the device first.

    Example:
      >>> hook = on_state(100, lambda progress: print(progress.step))
    """
    return Hook(call, "state", every)


class NonFinite(Exception):
    """The loss or the gradient of a step was not finite.

    Attributes:
      state: State before that step.
      batch: Raw batch of that step.
      metrics: Metrics of that step.

    Example:
      >>> import types
      >>> print(NonFinite(types.SimpleNamespace(step=4), {}, {"loss": float("nan")}))  # which stands for a state
      step 5: {'loss': nan}
    """

    def __init__(self, state: State, batch: Batch, metrics: dict[str, float]):
        super().__init__(f"step {int(state.step) + 1}: {metrics}")
        self.state, self.batch, self.metrics = state, batch, metrics


def fit(
    experiment: Experiment,
    state: State,
    feed: Feed,
    *,
    hooks: Sequence[Hook] = (),
    log_every: int = 100,
    seed: int = 0,
    num_steps: int | None = None,
    metrics: Sequence[Any] = (),
    program: Program | None = None,
    runtime: Runtime = Runtime(),
    stop: Callable[[], bool] = lambda: False,
    members: Members | None = None,
    start: int | None = None,
) -> Progress:
    """Trains from `state.step` to `num_steps`.

    Args:
      experiment: Experiment to train; with members, the experiment of the first one.
      state: State to start from; it is donated, and must not be used again.
      feed: Training split, from `make_feed`.
      hooks: Hooks; those called at the same time are called in this order.
      log_every: Number of steps over which metrics are merged.
      seed: Seed of the data order.
      num_steps: Step to stop after; the experiment's own when None.
      metrics: Leaves of `Progress.metrics` when the state was saved, so that resumed logs are equal bit for bit.
      program: Program from `compile_program`; compiled here when None.
      runtime: Settings of the steps, used when `program` is None.
      stop: Predicate called between dispatches; the loop ends early when it returns True.
      members: Members that are trained together, each with its own seed. A member that diverges keeps the state
        before that step, and the others continue. None is a solo run.
      start: Step to start from; `state.step` when None. Required with members, because diverged members lag behind.

    Returns:
      Final progress, with the state.

    Raises:
      NonFinite: A loss or a gradient of a solo run was NaN or infinite.
      UserError: The batch does not divide over the mesh, or a batch has another shape than the first.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state = dl.init(exp, jax.random.key(0))
      >>> feed = dl.make_feed(data, data.open("train"), dl.scale.make_mesh("data=1"))
      >>> progress = fit(exp, state, feed, runtime=dl.Runtime(steps_per_dispatch=1))
      >>> int(progress.state.step), progress.metrics["loss"].count.item()  # 2 batches of 32
      (2, 64.0)
    """
    end = experiment.num_steps if num_steps is None else num_steps
    step = begin = int(state.step) if start is None else start
    program = program or compile_program(experiment, state, feed, seed, runtime, members)
    seeds, floats = (seed, None) if members is None else (members.seeds, members.placed())
    log = _Log(hooks, log_every, end, program.merged(metrics))
    if members is not None:
        log.going = np.asarray(processes.local(state.step)) == begin
    pace = Pace(program.max_steps)
    pending: _Sent | None = None
    with feed.reader(step, seeds, end) as reader:
        while step < end and not stop():
            count = min(pace.steps, _next_boundary(step, end, hooks) - step)
            if not reader.ready():
                # Wait for the device first, so that its idle time without input is measured exactly.
                _read(pending, log, state, feed, seed)
                pending = None
            began = time.monotonic()
            item = reader.read(step, count)
            if pending is None and step > begin:  # the first batch cannot be read ahead
                log.stalled += time.monotonic() - began
            with jax.transfer_guard("disallow"):
                state, rows = program(state, item, step, count, floats)
            sent, pending = pending, _Sent(step, count, rows)
            step += count
            _read(sent, log, state, feed, seed)
            if step == _next_boundary(step - 1, end, hooks):
                _read(pending, log, state, feed, seed)
                pending = None
                log.state_hooks(step, state)
                pace.restart()
            else:
                pace.sent(count)
        _read(pending, log, state, feed, seed)
    return Progress(step, end, log.metrics, state, log.stalled)


@dataclasses.dataclass(frozen=True)
class _Sent:
    """A dispatch whose metrics have not been read."""

    start: int
    count: int
    rows: tuple[Metrics, jax.Array]


class _Log:
    """Merges metrics on the host, one step after another, so that sums do not depend on the dispatches."""

    def __init__(self, hooks: Sequence[Hook], every: int, end: int, metrics: Metrics):
        self._hooks, self._every, self._end = hooks, every, end
        self.metrics, self.stalled = metrics, 0.0
        self.going: np.ndarray | None = None  # [M]: members that have not diverged; None for a solo run

    def add(self, start: int, count: int, rows: Metrics) -> None:
        """Adds the rows of steps `start + 1` to `start + count`."""
        done = 0
        while done < count:
            upto = min(count, (start + done) // self._every * self._every + self._every - start)
            part = jax.tree.map(lambda x: x[done:upto], rows)  # noqa: B023 (called at once)
            self.metrics = jax.tree.map(_add_in_order, self.metrics, part) if self.metrics else _sum_in_order(part)
            done = upto
            step = start + done
            if step % self._every == 0 or step == self._end:
                self._call("log", Progress(step, self._end, self.metrics, stalled=self.stalled))
            if step % self._every == 0:
                self.metrics = {}
        self._call("dispatch", Progress(start + count, self._end, self.metrics, stalled=self.stalled))

    def state_hooks(self, step: int, state: State) -> None:
        self._call("state", Progress(step, self._end, self.metrics, state, self.stalled))

    def _call(self, moment: str, progress: Progress) -> None:
        for hook in self._hooks:
            if hook.moment == moment and (progress.step % hook.every == 0 or progress.step == self._end):
                hook.call(progress)


def _add_in_order(total: Any, rows: Any) -> Any:
    """total + rows[0] + rows[1] + ...; numpy's sum would group them by the number of rows."""
    return np.cumsum(np.concatenate([np.asarray(total, np.float64)[None], rows], dtype=np.float64), axis=0)[-1]


def _sum_in_order(rows: Metrics) -> Metrics:
    return jax.tree.map(lambda x: _add_in_order(np.zeros(x.shape[1:]), x), rows)


def _next_boundary(step: int, end: int, hooks: Sequence[Hook]) -> int:
    """First step after `step` at which a hook needs the state."""
    return min([end, *((step // h.every + 1) * h.every for h in hooks if h.moment == "state")])


def _read(sent: _Sent | None, log: _Log, state: State, feed: Feed, seed: int) -> None:
    """Waits for a dispatch, and adds its metrics to the log."""
    if sent is None:
        return
    metrics, finite = jax.device_get(sent.rows)
    if log.going is not None:
        taken = np.logical_and.accumulate(finite[: sent.count], axis=0) & log.going  # [steps, M]
        log.going = taken[-1]
        return log.add(sent.start, sent.count, _only(taken, _head(metrics, sent.count)))
    if finite[: sent.count].all():
        return log.add(sent.start, sent.count, metrics if len(finite) == sent.count else _head(metrics, sent.count))
    first = int(np.argmin(finite))
    batch = feed.data.train_batch(feed.source, sent.start + first, seed)  # the whole batch, read again
    row = in_double(jax.tree.map(lambda x: x[first], metrics))
    raise NonFinite(state, batch, {name: metric.compute() for name, metric in row.items()})


def _head(rows: Metrics, count: int) -> Metrics:
    return jax.tree.map(lambda x: x[:count], rows)


def _only(taken: np.ndarray, rows: Metrics) -> Metrics:
    """Rows [steps, M, ...], with 0 for the steps that a member has not taken."""
    return jax.tree.map(lambda x: np.where(taken.reshape(taken.shape + (1,) * (x.ndim - 2)), x, 0), rows)
