"""The effects of a part under way: curves, best states and checkpoints, as hooks of the training loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from deeplab.core.monitor import Monitor
from deeplab.runs.checkpoint import Checkpoints
from deeplab.search.parts import Part, PartState, better
from deeplab.train.loop import Progress


class PartEffects:
    """What a part does besides stepping.

    Args:
      part: Part, where it is.
      evaluate: Evaluation of its members, from `make_evaluator`.
      monitor: Metric by which the best states are kept.
      checkpoints: Checkpoints of the part; None saves nothing.
      slow: Context around an evaluation, given its name.
      began: Time since which seconds are counted.
    """

    def __init__(
        self, part: Part, evaluate: Callable[..., Any], monitor: Monitor, checkpoints: Checkpoints | None,
        slow: Callable[[str], AbstractContextManager[Any]], began: float,
    ):  # fmt: skip
        assert part.at is not None
        self._part, self._evaluate_members, self._monitor = part, evaluate, monitor
        self._checkpoints, self._slow = checkpoints, slow
        self._began, self._train, self._members = began, [], part.members
        self._best, self._scores = part.at.best, part.at.scores

    def log(self, progress: Progress) -> None:
        """Takes the training metrics since the last evaluation."""
        self._train = [*self._members.each(progress.metrics)]

    def evaluate(self, progress: Progress) -> None:
        """Evaluates the members, and saves them, unless they are still being saved from an evaluation before."""
        with self._slow("an evaluation"):
            self._evaluate(progress)

    def _evaluate(self, progress: Progress) -> None:
        assert progress.state is not None
        evaluation = self._evaluate_members(progress.state, self._members)
        for run, train, one in zip(self._part.runs, self._train, evaluation, strict=False):
            run.curve.append({"step": progress.step, "train": train, "evaluation": one})
        if self._best is not None:
            new = np.array([self._monitor.score(one) for one in evaluation])
            self._best, self._scores = better(self._best, self._scores, progress.state, new)
        self.clock()
        self._part.at = PartState(progress.step, progress.state, self._best, self._scores)
        self._part.save(self._checkpoints, wait=False)

    def end(self, last: Progress) -> None:
        """Where the loop has ended; what was evaluated before has been donated."""
        assert last.state is not None
        metrics = [x.tolist() for x in jax.tree.leaves(last.metrics)]
        self._part.at = PartState(last.step, last.state, self._best, self._scores, metrics)
        self.clock()

    def clock(self) -> None:
        """Divides the seconds since it was last called among the members."""
        now = time.monotonic()
        for run in self._part.runs:
            run.seconds += (now - self._began) / len(self._part.runs)
        self._began = now
