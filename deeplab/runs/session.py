"""A training session: restores or initializes a run, and trains it with evaluations, checkpoints and metrics."""

from __future__ import annotations

import dataclasses
import functools
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from deeplab.core.monitor import Best
from deeplab.core.runtime import Runtime
from deeplab.data.base import Data, Source
from deeplab.experiment import Experiment
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.effects import Effects, Write
from deeplab.scale import processes, state_shardings, unapplied_rules
from deeplab.train.contracts.checked import checked
from deeplab.train.evaluate import make_evaluator
from deeplab.train.feed import Feed, make_feed
from deeplab.train.initialize import init, with_weights
from deeplab.train.loop import Hook, Progress, fit, on_log, on_state
from deeplab.train.program import Program, compile_program
from deeplab.train.state import State

_PROBED = 32  # number of examples whose digests processes compare, to detect different data


@dataclasses.dataclass(frozen=True)
class Ready:
    """Data, state and compiled programs of a session, before its first step.

    Attributes:
      experiment: Experiment to train.
      runtime: Precision, accumulation and other settings of its steps.
      state: State to start from.
      extra: Values that the checkpoint holds besides the state; {} for a new run.
      feed: Feed of the training split.
      eval_feed: Feed of the evaluation split.
      program: Compiled training steps.
      evaluate: Compiled function from a state to the metrics of the evaluation split.
      data_seconds: Time to open the data, in seconds.
      compile_seconds: Time to initialize or restore the state and to compile, in seconds.
      remarks: What may be a mistake in the experiment, a sentence each.
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
    remarks: tuple[str, ...] = ()


def prepare(
    experiment: Experiment,
    checkpoints: Checkpoints | None,
    mesh: Mesh,
    *,
    seed: int,
    open_source: Callable[[Data, str], Source],
    check: Callable[[dict[str, Source]], None] = lambda sources: None,
    runtime: Runtime = Runtime(),
) -> Ready:
    """Opens the data, restores the newest valid checkpoint (or initializes the state), and compiles.

    Args:
      experiment: Experiment to train.
      checkpoints: Checkpoints of the run; None for a run that is not saved.
      mesh: Devices to train on.
      seed: Seeds parameter initialization and data order.
      open_source: Function from the data and the name of a split to the opened split.
      check: Function that is called with the opened splits, by name, and may refuse them.
      runtime: Precision, accumulation, offload, steps in a dispatch and reading processes; its `mesh` is not used.

    Raises:
      UserError: The model cannot read the data, or processes have different data.
    """
    data = experiment.data
    make = functools.partial(init, experiment, runtime=runtime)
    began = time.monotonic()
    source = open_source(data, "train")  # first: only then is the number of windows of a text known
    shapes, remarks = checked(experiment, runtime)
    shardings = state_shardings(shapes, experiment.sharding_rules, mesh, offload=runtime.offload)
    given = experiment.rules is not None
    for misfit in unapplied_rules(shapes.params, experiment.sharding_rules, mesh, given=given):
        warnings.warn(misfit, stacklevel=2)
    abstract = jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)
    feed = make_feed(data, source, mesh, runtime.workers)
    eval_feed = make_feed(data, open_source(data, data.eval_split), mesh)
    if jax.process_count() > 1:
        read = (("train", feed), (data.eval_split, eval_feed))
        processes.assert_same_across_processes({f"data {split}": _content(f) for split, f in read})
    check({"train": feed.source, data.eval_split: eval_feed.source})
    opened = time.monotonic()
    found = checkpoints.latest(abstract) if checkpoints else None
    # A program with sharded outputs initializes the state, so that no device ever holds all of it.
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
    return Ready(experiment, runtime, state, extra, feed, eval_feed, program, evaluate, *seconds, remarks)


def _content(feed: Feed) -> str:
    """Size of a split, a digest of examples spread over it, and whether it is resident on the devices."""
    ids = np.unique(np.linspace(0, feed.source.size - 1, _PROBED).astype(np.int32))
    digest = 0
    for name, array in sorted(feed.data.fetch(feed.source, ids).items()):
        digest = zlib.crc32(np.ascontiguousarray(array).data, zlib.crc32(name.encode(), digest))
    where = "on the devices" if feed.resident is not None else "on the host"
    return f"{feed.source.size:,} examples, digest {digest:08x}, {where}"


def is_over(ready: Ready) -> bool:
    """Whether the run has ended before this session: at its last step, or by its patience."""
    patience, best = ready.experiment.patience, Best(*ready.extra.get("best", ()))
    return int(ready.state.step) >= ready.experiment.num_steps or (patience is not None and best.since >= patience)


class Outcome(NamedTuple):
    """How training ended.

    Attributes:
      last: Final progress.
      evaluation: Evaluation of the last step; {} if there was none.
      seconds: Training seconds over all sessions.
      best_step: Step of the best evaluation where the patience ended the run; None otherwise.
    """

    last: Progress
    evaluation: dict[str, float]
    seconds: float
    best_step: int | None = None


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
) -> Outcome:
    """Trains to the end, or to the first dispatch after `stop` returns True; the last state is always saved.

    With a `patience`, it also ends at the evaluation that exhausts it: the step depends on the evaluations alone.

    Args:
      ready: Prepared session, from `prepare`.
      checkpoints: Checkpoints of the run; None for a run that is not saved.
      write: Writer of rows of metrics.
      seed: Seed that `prepare` was called with.
      log_every: Number of steps merged into one row of training metrics; a hundredth of the run when None.
      checkpoint_every: Number of steps between checkpoints; one checkpoint for each evaluation when None.
      hooks: Additional hooks.
      stop: Predicate called between dispatches; training ends when it returns True.
      slow: Context entered around work that takes longer than a dispatch; it receives the name of that work.

    Returns:
      How training ended.
    """
    experiment, end = ready.experiment, ready.experiment.num_steps
    effects = Effects(
        experiment, ready.evaluate, ready.extra, int(ready.state.step), checkpoints=checkpoints, write=write, slow=slow
    )
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
        stop=lambda: effects.is_over() or stop(),
    )
    if checkpoints:
        if last.step < end:
            effects.save(last, force=True)
        with slow("a checkpoint"):
            checkpoints.wait()
    early = effects.is_over() and last.step < end
    return Outcome(
        last, effects.evaluation_at(last.step), effects.clock.seconds(), effects.best.step if early else None
    )
