"""SIGTERM and Ctrl-C: the first signal asks the loop to save and stop, the second ends the process at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from deeplab.scale.processes.watch import HEARTBEAT_VARIABLE, Watchdog


class Stop:
    """The `stop` callable of `fit`: whether a signal has asked the run to stop, and which.

    With several processes a signal to one of them stops all, after the same step.

    Attributes:
      signal: Number of the signal that stopped the run; None before.
    """

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self.signal: int | None = None

    def __call__(self) -> bool:
        self.signal = self._watchdog.boundary()
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """The exit code after the signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or 0)


@contextmanager
def stop_on_signal(watchdog: Watchdog) -> Iterator[Stop]:
    """A context in which a signal requests a stop; the state is donated during a step, so only the loop can save it.

    Args:
      watchdog: Watchdog of this process, which agrees with the other processes on the step to stop at.

    Example:
      >>> with stop_on_signal(Watchdog()) as stop:
      ...     signal.raise_signal(signal.SIGTERM)
      ...     stop(), stop.exit_code
      (True, 143)
    """
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        # A scheduler may signal both this process and its supervisor, which passes the signal on: a supervised process
        # would see one request twice. The supervisor itself handles a second signal.
        if requested and HEARTBEAT_VARIABLE not in os.environ:
            os._exit(128 + number)
        requested = True
        watchdog.request_stop(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield Stop(watchdog)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
