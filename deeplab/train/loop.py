"""The one loop: dispatches pure steps, and calls hooks for every effect.

The device is never waited for: the metrics of one dispatch are read after the next has been sent. Where it pays,
a dispatch is a loop over several steps, inside the compiled program; how many may change from one dispatch to the
next without changing a bit of the result, since the program is the same. Several processes send the same dispatches:
how many steps each takes is then process 0's to say.
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
from deeplab.metrics.base import Metrics
from deeplab.scale import processes
from deeplab.train.feed import Feed
from deeplab.train.members import Members
from deeplab.train.program import Program, compile_program
from deeplab.train.state import State

_TRIALS = 16  # dispatches after which several processes change their pace no more: each trial costs an exchange
_DISPATCH_SECONDS = 0.1  # long enough to hide the cost of a dispatch (0.2 ms), short enough to answer a signal


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a hook is given.

    Attributes:
      step: Number of steps taken.
      num_steps: Number of steps in all.
      metrics: Metrics merged over the steps since the last multiple of `log_every`, on the host; {} where there are
        none. Of members the leaves are [M, ...], over the steps that each has taken.
      state: State after `step`, for the hooks of `on_state`; it lives until the hook returns. A member whose own
        `state.step` is smaller has diverged.
      stalled: Seconds so far in which the device had nothing to do because its next batch was not there.
    """

    step: int
    num_steps: int
    metrics: Metrics
    state: State | None = None
    stalled: float = 0.0


@dataclasses.dataclass(frozen=True)
class Hook:
    """An effect and its moment; made by `on_log`, `on_dispatch` and `on_state`."""

    call: Callable[[Progress], None]
    moment: Literal["log", "dispatch", "state"]
    every: int = 1


def on_log(call: Callable[[Progress], None]) -> Hook:
    """Calls every `log_every` steps and after the last, one dispatch late: the device does not wait."""
    return Hook(call, "log")


def on_dispatch(call: Callable[[Progress], None]) -> Hook:
    """Calls whenever there is news of the device: for progress bars."""
    return Hook(call, "dispatch")


def on_state(every: int, call: Callable[[Progress], None]) -> Hook:
    """Calls with the state every so many steps, and after the last; the loop waits for the device first."""
    return Hook(call, "state", every)


class NonFinite(Exception):
    """The loss or the gradient of a step was not finite.

    Attributes:
      state: as it was before that step.
      batch: the raw batch of that step.
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
      experiment: Experiment that is trained; of members, that of the first one.
      state: State to begin with; it is donated, and must not be used again.
      feed: Training split, from `make_feed`.
      hooks: Effects; those of one moment are called in this order.
      log_every: Number of steps over which metrics are merged.
      seed: Seed of the data order.
      num_steps: Step to stop after; the experiment's own when None.
      metrics: Leaves of `Progress.metrics` when the state was saved, so that logs go on bit by bit.
      program: Program from `compile_program`; made when None.
      runtime: How its steps run, where `program` is None.
      stop: Function that is asked between dispatches; the loop ends early when it returns True.
      members: Members that are trained together, each with its own seed. A member that diverges stays what it was
        before that step, and the others go on. None is a solo run.
      start: Step to begin with; `state.step` when None. Members need it, since those that have diverged lag behind.

    Returns:
      Where it ended, with the state.

    Raises:
      NonFinite: A loss or a gradient of a solo run was NaN or infinite.
      UserError: The batch does not divide over the mesh, or a batch has another shape than the first.
    """
    end = experiment.num_steps if num_steps is None else num_steps
    step = begin = int(state.step) if start is None else start
    program = program or compile_program(experiment, state, feed, seed, runtime, members)
    seeds, floats = (seed, None) if members is None else (members.seeds, members.placed())
    log = _Log(hooks, log_every, end, program.merged(metrics))
    if members is not None:
        log.going = np.asarray(processes.local(state.step)) == begin
    pace = _Pace(program.max_steps)
    pending: _Sent | None = None
    with feed.reader(step, seeds, end) as reader:
        while step < end and not stop():
            count = min(pace.steps, _next_boundary(step, end, hooks) - step)
            if not reader.ready():
                # The device first: how long it is then idle for want of input can be told exactly.
                _read(pending, log, state, feed, seed)
                pending = None
            began = time.monotonic()
            item = reader.read(step, count)
            if pending is None and step > begin:  # nothing could have been read ahead of the first
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
    """Merges metrics on the host, one step after another: so the sums do not depend on the dispatches."""

    def __init__(self, hooks: Sequence[Hook], every: int, end: int, metrics: Metrics):
        self._hooks, self._every, self._end = hooks, every, end
        self.metrics, self.stalled = metrics, 0.0
        self.going: np.ndarray | None = None  # of members, [M]: which of them have not diverged

    def add(self, start: int, count: int, rows: Metrics) -> None:
        """Rows of the steps `start + 1` to `start + count`."""
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
    """The first step after `step` at which a hook needs the state."""
    return min([end, *((step // h.every + 1) * h.every for h in hooks if h.moment == "state")])


def _read(sent: _Sent | None, log: _Log, state: State, feed: Feed, seed: int) -> None:
    """Waits for a dispatch, and hands its metrics on."""
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
    batch = feed.data.fetch(feed.source, feed.data.train_ids(sent.start + first, seed)[0])  # whole, and read again
    row = jax.tree.map(lambda x: np.float64(x[first]), metrics)
    raise NonFinite(state, batch, {name: metric.compute() for name, metric in row.items()})


def _head(rows: Metrics, count: int) -> Metrics:
    return jax.tree.map(lambda x: x[:count], rows)


def _only(taken: np.ndarray, rows: Metrics) -> Metrics:
    """Rows [steps, M, ...], with 0 for the steps that a member has not taken."""
    return jax.tree.map(lambda x: np.where(taken.reshape(taken.shape + (1,) * (x.ndim - 2)), x, 0), rows)


class _Pace:
    """How many steps a dispatch takes: more while dispatches are short. No number of the run depends on it."""

    def __init__(self, max_steps: int):
        self.steps, self._max = 1, max_steps
        self._since: float | None = None
        self._trials = _TRIALS if jax.process_count() > 1 else None

    def sent(self, count: int) -> None:
        now = time.monotonic()
        if self._since is not None and count == self.steps and self._agreed(now - self._since < _DISPATCH_SECONDS / 2):
            self.steps = min(self.steps * 2, self._max)
        self._since = time.monotonic()

    def _agreed(self, short: bool) -> bool:
        """Whether a dispatch was short, by the clock of process 0."""
        if self._trials is None:
            return short
        if self._trials == 0 or self.steps == self._max:
            return False
        self._trials -= 1
        return processes.allgather_json(short)[0]

    def restart(self) -> None:
        """Forgets the time, which a hook has spent."""
        self._since = None
