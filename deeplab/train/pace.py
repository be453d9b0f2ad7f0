"""The number of steps in a dispatch."""

from __future__ import annotations

import time

import jax

from deeplab.scale import processes

_TRIALS = 16  # dispatches after which several processes keep their pace: each trial costs a communication
_DISPATCH_SECONDS = 0.1  # long enough to hide the overhead of a dispatch (0.2 ms), short enough to handle a signal


class Pace:
    """Number of steps in a dispatch, doubled while dispatches are short. No result of the run depends on it."""

    def __init__(self, max_steps: int):
        self.steps, self._max = 1, max_steps
        self._since: float | None = None
        self._trials = _TRIALS if jax.process_count() > 1 else None

    def sent(self, count: int) -> None:
        """Notes that a dispatch of `count` steps was sent, after the one before it has ended."""
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
        """Discards the measured time, which includes a hook."""
        self._since = None
