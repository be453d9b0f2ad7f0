"""SIGTERM and Ctrl-C: the first signal asks the loop to save and stop, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deeplab.scale.processes.watch import HEARTBEAT_VARIABLE, Watchdog

_STOP = (signal.SIGINT, signal.SIGTERM)


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
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        watchdog.request_stop(number)

    def end_at_the_second(number: int) -> None:
        nonlocal count
        count += 1
        # A scheduler may signal both this process and its supervisor, which passes the signal on: a supervised process
        # would see one request twice. The supervisor itself handles a second signal.
        if count > 1 and HEARTBEAT_VARIABLE not in os.environ:
            os._exit(128 + number)

    with _on_signal(handle, end_at_the_second):
        yield Stop(watchdog)


@contextmanager
def end_on_signal() -> Iterator[None]:
    """A context in which a signal ends the process at once, for work that leaves nothing to save.

    An exception, such as Python's `KeyboardInterrupt`, would come too late during a compilation, is lost in a callback
    of C++, and lets the interpreter end while threads of XLA still run: a segmentation fault.
    """
    with _on_signal(lambda number, frame: os._exit(128 + number), lambda number: os._exit(128 + number)):
        yield


@contextmanager
def _on_signal(handle: Callable[[int, FrameType | None], None], at_once: Callable[[int], None]) -> Iterator[None]:
    """A context with a handler of SIGINT and SIGTERM, and a function that a thread calls with the number of a signal.

    Python runs a handler between two instructions of its main thread, so not before a compilation has ended; the
    thread learns of the signal immediately.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while received := os.read(reader, 1):
            if received[0] in _STOP:
                at_once(received[0])

    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, handle) for number in _STOP}
    other = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(other)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)
        thread.join()
        os.close(reader)
