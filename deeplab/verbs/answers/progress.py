"""Progress of many runs on one line: how many have ended, the best so far, and the time left."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from deeplab.core.monitor import Monitor
from deeplab.report.text import duration, metric
from deeplab.scale import processes
from deeplab.search.parts import MemberRun, key_of

_LIVE_SECONDS = 0.2
_PLAIN_SECONDS = 15.0


class Line:
    """A line that is written over on a terminal and in a notebook; elsewhere a new one every 15 seconds.

    Args:
      stream: Stream that it is written to; nothing is shown when None.
      live: Whether a line of the stream can be written over.
      seconds: Least time between two texts.

    Example:
      >>> line = Line(sys.stdout, live=False, seconds=0.0)
      >>> line("1 of 2 runs")
      1 of 2 runs
    """

    def __init__(self, stream: IO[str] | None = None, live: bool = False, seconds: float | None = None):
        self._stream, self.live = stream, live
        self._seconds = (_LIVE_SECONDS if live else _PLAIN_SECONDS) if seconds is None else seconds
        self._last, self._shown = time.monotonic() - (_LIVE_SECONDS if live else 0.0), 0

    def is_due(self) -> bool:
        """Whether a text would be shown now."""
        return self._stream is not None and time.monotonic() - self._last >= self._seconds

    def __call__(self, text: str) -> None:
        """Shows a text in place of the one before, unless that was shown but a moment ago."""
        if self._stream is None or not self.is_due():
            return
        self._last = time.monotonic()
        if not self.live:
            print(text, file=self._stream, flush=True)
            return
        text = text[: max(20, shutil.get_terminal_size().columns - 1)]
        self._stream.write("\r" + text.ljust(self._shown))
        self._stream.flush()
        self._shown = len(text)

    def clear(self) -> None:
        """Takes the text away, so that others can be printed."""
        if self._stream is not None and self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
            self._stream.flush()
            self._shown = 0


def standard() -> Line:
    """The line of this process: on the output of a notebook's cell, else on the standard error."""
    if not processes.is_primary():
        return Line()
    if type(sys.stdout).__module__.startswith("ipykernel"):
        return Line(sys.stdout, live=True)
    return Line(sys.stderr, live=sys.stderr.isatty())


class Watch:
    """Follows many runs.

    Args:
      line: Line that shows how far they are.
    """

    def __init__(self, line: Line):
        self._line, self._began = line, time.monotonic()
        self._steps: dict[str, int] = {}  # of each run under way, all there are
        self._at: dict[str, int] = {}
        self._scores: dict[str, float] = {}  # of those under way; one that diverges is none of the best
        self._taken, self._ended, self._runs, self._fewer = 0, 0, 0, False
        self._monitor, self._best = Monitor(), -math.inf

    @property
    def live(self) -> bool:
        """Whether the line is written over, and tells of each end by itself."""
        return self._line.live

    def begin(self, steps: Mapping[str, int], monitor: Monitor, known: Sequence[Mapping[str, Any]], runs: int) -> None:
        """More runs are wanted.

        Args:
          steps: Number of steps of each run that will be made, by its key.
          monitor: Metric that tells the best one.
          known: Rows of runs that had ended before.
          runs: Number of all runs that will be made, those that are not known yet among them.
        """
        self._steps |= steps
        self._runs, self._monitor = max(runs, len(self._steps) + self._ended), monitor
        self._best = max([self._best, *(self._score(row["curve"]) for row in known if not row["diverged"])])

    def __call__(self, runs: Sequence[MemberRun], step: int) -> None:
        """Runs that share a program have come to a step."""
        if not self._line.is_due():
            return
        under_way = {key: run for run in runs if (key := key_of(run.member)) in self._steps}  # others had ended before
        for key, run in under_way.items():
            self._taken += step - self._at.get(key, step)  # what a session before has trained took no time of this one
            self._at[key], self._scores[key] = step, self._score(run.curve)
        self._line(self.text())

    def end(self, runs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Runs have ended, each with its key and its row."""
        for key, row in runs:
            self._ended += 1
            self._taken += max(0, row["steps"] - self._at.pop(key, 0))
            self._steps.pop(key, None)
            self._scores.pop(key, None)
            self._fewer |= row["stopped"]
            if not row["diverged"]:
                self._best = max(self._best, self._score(row["curve"]))
        self._line(self.text())

    def clear(self) -> None:
        """Takes the line away."""
        self._line.clear()

    def _score(self, curve: Sequence[Mapping[str, Any]]) -> float:
        name = self._monitor.name
        value = curve[-1]["evaluation"].get(name) if curve else None
        return -math.inf if value is None else self._monitor.score({name: value})

    def text(self) -> str:
        """How far the runs are."""
        parts = [f"{self._ended:,} of {self._runs:,} runs"]
        left = sum(self._steps.values()) - sum(self._at.values())
        waiting = self._runs - self._ended - len(self._steps)  # not proposed yet: as long as the others
        left += waiting * self._taken / max(1, self._ended)
        if self._at:
            parts.append(f"{sum(self._at.values()):,} of {sum(self._steps[key] for key in self._at):,} steps under way")
        best = max([self._best, *self._scores.values()])
        if math.isfinite(best):
            value = best if self._monitor.direction == "max" else -best
            parts.append(f"best {self._monitor.name} {metric(self._monitor.name, value)}")
        if self._taken and left > 0:
            seconds = left * (time.monotonic() - self._began) / self._taken
            parts.append(f"{'at most ' * self._fewer}{duration(seconds)} left")
        return ", ".join(parts)
