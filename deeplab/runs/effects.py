"""The side effects of a training session: rows of metrics, evaluations, checkpoints, and the end by patience."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax

from deeplab.core.monitor import Best
from deeplab.experiment import Experiment
from deeplab.runs.checkpoint import Checkpoints
from deeplab.train.loop import Progress
from deeplab.train.state import State

Write = Callable[[int, str, dict[str, float]], None]
"""A metrics writer, called as `write(step, split, values)`."""


class Effects:
    """The side effects of a run: rows of metrics, evaluations and checkpoints.

    Args:
      experiment: Experiment that is trained.
      evaluate: Function from a state to the metrics of the evaluation split.
      extra: What the checkpoint holds besides the state, from `save`; {} for a new run.
      step: First step of this session.
      checkpoints: Checkpoints of the run; None for a run that is not saved.
      write: Writer of rows of metrics.
      slow: Context entered around work that takes longer than a dispatch; it receives the name of that work.
    """

    def __init__(
        self,
        experiment: Experiment,
        evaluate: Callable[[State], dict[str, float]],
        extra: Mapping[str, Any],
        step: int,
        *,
        checkpoints: Checkpoints | None,
        write: Write,
        slow: Callable[[str], AbstractContextManager[Any]],
    ):
        self._experiment, self._evaluate = experiment, evaluate
        self._checkpoints, self._write, self._slow = checkpoints, write, slow
        self._evaluated: tuple[int, dict[str, float]] = (step, dict(extra.get("evaluation", {})))
        self.best = Best(*extra.get("best", ()))
        self.clock = Clock(extra.get("seconds", 0.0))
        self._warned = False

    def is_over(self) -> bool:
        """Whether the patience is exhausted."""
        return self._experiment.patience is not None and self.best.since >= self._experiment.patience

    def evaluation_at(self, step: int) -> dict[str, float]:
        """The evaluation of a step; {} if the last one was of another."""
        return self._evaluated[1] if self._evaluated[0] == step else {}

    def log(self, progress: Progress) -> None:
        values = {name: metric.compute() for name, metric in progress.metrics.items()}
        rate, stalled = self.clock.pace(progress.step, progress.stalled)
        values |= {"seconds": self.clock.seconds(), "steps_per_second": rate, "stalled": stalled}
        self._write(progress.step, "train", values)

    def evaluate(self, progress: Progress) -> None:
        assert progress.state is not None
        with self._slow("an evaluation"):
            evaluation = self._evaluate(progress.state)
        if not self._warned:  # once a session: what is said of one evaluation is so of the next
            self._warned = warn_of(self._experiment, evaluation, f"step {progress.step:,}")
        self._evaluated = (progress.step, evaluation)
        if self._experiment.patience is not None:
            self.best = self.best.after(progress.step, self._experiment.monitor.score(evaluation))
        seconds = {"seconds": self.clock.seconds()}
        self._write(progress.step, self._experiment.data.eval_split, evaluation | seconds)
        self.save(progress, evaluation)

    def save(self, progress: Progress, metrics: dict[str, float] | None = None, force: bool = False) -> None:
        if self._checkpoints is None:
            return
        at_end = progress.step == self._experiment.num_steps or self.is_over()
        extra = {
            "metrics": [x.tolist() for x in jax.tree.leaves(progress.metrics)],
            "seconds": self.clock.seconds(),
            "evaluation": self.evaluation_at(progress.step) if at_end else {},
        }
        if self._experiment.patience is not None:
            extra["best"] = list(dataclasses.astuple(self.best))
        with self._slow("a checkpoint"):
            self._checkpoints.save(progress.step, progress.state, metrics=metrics, extra=extra, force=force or at_end)


def warn_of(experiment: Experiment, evaluation: Mapping[str, float], where: str) -> bool:
    """Warns of what the task reads from the metrics of an evaluation; whether there was anything."""
    said = experiment.task.warnings(evaluation)
    for sentence in said:
        warnings.warn(f"{where}: {sentence}", stacklevel=2)
    return bool(said)


class Clock:
    """Training time over all sessions of a run, and the rate since the last row; used in reports only."""

    def __init__(self, before: float):
        self._before, self._began, self._last = before, time.monotonic(), (0, 0.0, time.monotonic())

    def start(self, step: int) -> None:
        self._began = time.monotonic()
        self._last = (step, 0.0, self._began)

    def seconds(self) -> float:
        return round(self._before + time.monotonic() - self._began, 3)

    def pace(self, step: int, stalled: float) -> tuple[float, float]:
        """Steps per second, and the fraction of time that the device waited for input, since the last call."""
        before, now = self._last, time.monotonic()
        self._last = (step, stalled, now)
        seconds = max(now - before[2], 1e-9)
        return (step - before[0]) / seconds, round((stalled - before[1]) / seconds, 4)
