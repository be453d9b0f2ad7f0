"""A run, from an empty directory or from its last checkpoint, to its end: the pieces put together.

The loop itself is `fit`. Here is what a run has around it: the state restored or made, evaluations and checkpoints at
their cadence, metrics written, a signal obeyed.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flax.errors
import jax
import numpy as np
from jax.sharding import Mesh

from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.data.base import Data, Source
from deeplab.experiment import Experiment
from deeplab.runs.checkpoint import Checkpoints
from deeplab.scale import processes, state_shardings, unapplied_rules
from deeplab.train.evaluate import make_evaluator
from deeplab.train.feed import Feed, make_feed
from deeplab.train.initialize import init, with_weights
from deeplab.train.loop import Hook, Progress, fit, on_log, on_state
from deeplab.train.program import Program, compile_program
from deeplab.train.state import State

Write = Callable[[int, str, dict[str, float]], None]
"""A sink of metrics: (step, split, values)."""

_PROBED = 32  # examples by which processes see whether they have the same data


@dataclasses.dataclass(frozen=True)
class Ready:
    """Everything opened, restored and compiled, at the first step to take.

    Attributes:
      experiment: what is trained.
      runtime: How its steps run.
      state: where to begin.
      extra: what the checkpoint said beside the state: {} at the start.
      feed: the training split.
      eval_feed: the split of the evaluations.
      program: the compiled steps.
      evaluate: from a state to the metrics of that split, compiled too.
      data_seconds: what opening the data took.
      compile_seconds: what making the first state and compiling took.
    """

    experiment: Experiment
    runtime: Runtime
    state: State
    extra: dict[str, Any]
    feed: Feed
    eval_feed: Feed
    program: Program
    evaluate: Callable[[State], dict[str, float]]
    data_seconds: float
    compile_seconds: float


def prepare(
    experiment: Experiment,
    checkpoints: Checkpoints | None,
    mesh: Mesh,
    *,
    seed: int,
    open_source: Callable[[Data, str], Source],
    runtime: Runtime = Runtime(),
) -> Ready:
    """Opens the data, restores the newest sound checkpoint (or makes the first state), and compiles.

    Args:
      experiment: what is to be trained.
      checkpoints: of the run.
      mesh: the devices.
      seed: of the weights and of the order.
      open_source: gives a split of the data; the effect of opening is the caller's.
      runtime: Precision, accumulation, offload, steps in a dispatch and reading processes; `mesh` stands for its own.
    """
    data = experiment.data
    make = functools.partial(init, experiment, runtime=runtime)
    shapes = _shapes(experiment, make, seed)
    shardings = state_shardings(shapes, experiment.sharding_rules, mesh, offload=runtime.offload)
    given = experiment.rules is not None
    for misfit in unapplied_rules(shapes.params, experiment.sharding_rules, mesh, given=given):
        warnings.warn(misfit, stacklevel=2)
    abstract = jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)
    began = time.monotonic()
    feed = make_feed(data, open_source(data, "train"), mesh, runtime.workers)
    eval_feed = make_feed(data, open_source(data, data.eval_split), mesh)
    processes.assert_same_across_processes(
        {f"data {split}": _content(f) for split, f in (("train", feed), (data.eval_split, eval_feed))}
    )
    opened = time.monotonic()
    found = checkpoints.latest(abstract) if checkpoints else None
    # Made by a program whose outputs are sharded: no device ever holds the whole.
    if found is None:
        state = jax.jit(make, out_shardings=shardings)(jax.random.key(seed))
        state, extra = with_weights(state, experiment.weights), {}
    else:
        state, extra = found
    if checkpoints:
        checkpoints.prepare(state)
    program = compile_program(experiment, state, feed, seed, runtime)
    evaluate = make_evaluator(experiment, eval_feed, data.eval_split, runtime, warm=state)
    seconds = opened - began, time.monotonic() - opened
    return Ready(experiment, runtime, state, extra, feed, eval_feed, program, evaluate, *seconds)


def _content(feed: Feed) -> str:
    """Of what size a split is, a digest of examples spread over it, and whether it lives on the devices."""
    if jax.process_count() == 1:
        return ""
    ids = np.unique(np.linspace(0, feed.source.size - 1, _PROBED).astype(np.int32))
    digest = 0
    for name, array in sorted(feed.data.fetch(feed.source, ids).items()):
        digest = zlib.crc32(np.ascontiguousarray(array).data, zlib.crc32(name.encode(), digest))
    where = "on the devices" if feed.resident is not None else "on the host"
    return f"{feed.source.size:,} examples, digest {digest:08x}, {where}"


def _shapes(experiment: Experiment, make: Callable[[jax.Array], State], seed: int) -> State:
    """The abstract state; a model that cannot read the data says so in terms of both."""
    try:
        return jax.eval_shape(make, jax.random.key(seed))
    except (TypeError, ValueError, flax.errors.FlaxError) as error:
        fields = {name: f"{s.dtype}{list(s.shape)}" for name, s in experiment.data.spec().items()}
        raise UserError(
            f"{type(experiment.model).__name__} cannot read a batch of {type(experiment.data).__name__} by way of "
            f"{type(experiment.task).__name__}: {error}\nA batch holds {fields}; give the model other arguments, or "
            "the task another input"
        ) from error


def train(
    ready: Ready,
    checkpoints: Checkpoints | None,
    write: Write,
    *,
    seed: int,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    hooks: Sequence[Hook] = (),
    stop: Callable[[], bool] = lambda: False,
    slow: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Progress, dict[str, float], float]:
    """Trains to the end, or to the first dispatch after `stop` says so; the last state is always saved.

    Args:
      ready: from `prepare`.
      checkpoints: of the run.
      write: where metrics go.
      seed: the one that `prepare` was given.
      log_every: steps merged into one row of training metrics; a hundredth of the run when None.
      checkpoint_every: steps between checkpoints; as the evaluations when None.
      hooks: further effects.
      stop: asked between dispatches.
      slow: around what takes longer than dispatches do, which it is given the name of: for who watches the loop.

    Returns:
      Where it ended, the evaluation at the last step ({} where it was stopped before), and the training seconds so
      far, this run directory's earlier sessions included.
    """
    experiment, end = ready.experiment, ready.experiment.num_steps
    effects = _Effects(ready, checkpoints, write, slow)
    cadence = [on_log(effects.log), on_state(experiment.cadence, effects.evaluate)]
    if checkpoint_every and checkpoints:
        cadence.append(on_state(checkpoint_every, effects.save))
    effects.clock.start(int(ready.state.step))
    last = fit(
        experiment,
        ready.state,
        ready.feed,
        hooks=[*cadence, *hooks],
        log_every=log_every or max(1, end // 100),
        seed=seed,
        metrics=ready.extra.get("metrics", ()),
        program=ready.program,
        stop=stop,
    )
    if checkpoints:
        if last.step < end:
            effects.save(last, force=True)
        with slow("a checkpoint"):
            checkpoints.wait()
    return last, effects.evaluation, effects.clock.seconds()


class _Effects:
    """What a run does besides stepping: rows of metrics, evaluations, checkpoints."""

    def __init__(self, ready: Ready, checkpoints: Checkpoints | None, write: Write, slow: Callable[[str], Any]):
        self._ready, self._checkpoints, self._write, self._slow = ready, checkpoints, write, slow
        self.evaluation: dict[str, float] = dict(ready.extra.get("evaluation", {}))
        self.clock = _Clock(ready.extra.get("seconds", 0.0))

    def log(self, progress: Progress) -> None:
        values = {name: metric.compute() for name, metric in progress.metrics.items()}
        rate, stalled = self.clock.pace(progress.step, progress.stalled)
        values |= {"seconds": self.clock.seconds(), "steps_per_second": rate, "stalled": stalled}
        self._write(progress.step, "train", values)

    def evaluate(self, progress: Progress) -> None:
        assert progress.state is not None
        with self._slow("an evaluation"):
            self.evaluation = self._ready.evaluate(progress.state)
        seconds = {"seconds": self.clock.seconds()}
        self._write(progress.step, self._ready.experiment.data.eval_split, self.evaluation | seconds)
        self.save(progress, self.evaluation)

    def save(self, progress: Progress, metrics: dict[str, float] | None = None, force: bool = False) -> None:
        if self._checkpoints is None:
            return
        at_end = progress.step == self._ready.experiment.num_steps
        extra = {
            "metrics": [x.tolist() for x in jax.tree.leaves(progress.metrics)],
            "seconds": self.clock.seconds(),
            "evaluation": self.evaluation if at_end else {},
        }
        with self._slow("a checkpoint"):
            self._checkpoints.save(progress.step, progress.state, metrics=metrics, extra=extra, force=force or at_end)


class _Clock:
    """Training seconds, over all sessions of a run, and the pace since the last row: for reports, no step needs it."""

    def __init__(self, before: float):
        self._before, self._began, self._last = before, time.monotonic(), (0, 0.0, time.monotonic())

    def start(self, step: int) -> None:
        self._began = time.monotonic()
        self._last = (step, 0.0, self._began)

    def seconds(self) -> float:
        return round(self._before + time.monotonic() - self._began, 3)

    def pace(self, step: int, stalled: float) -> tuple[float, float]:
        """Since it was last asked: steps a second, and the share of the time in which the device waited for input."""
        before, now = self._last, time.monotonic()
        self._last = (step, stalled, now)
        seconds = max(now - before[2], 1e-9)
        return (step - before[0]) / seconds, round((stalled - before[1]) / seconds, 4)
