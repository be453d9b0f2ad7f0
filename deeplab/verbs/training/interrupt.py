"""The interrupt of a notebook's cell: the first asks the run to save and stop, the second ends the cell at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupt:
    """The `stop` of a run in a notebook: whether the cell was interrupted."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """A context in which an interrupt asks for a stop: a step donates the state, so that only the loop can save it.

        Python hands signals to its main thread alone; in another one nothing changes.

        Example:
          >>> interrupt = Interrupt()
          >>> with interrupt.awaited():
          ...     signal.raise_signal(signal.SIGINT)
          >>> interrupt(), interrupt.exit_code()
          (True, 130)
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def exit_code(self) -> int | None:
        """The exit code of a stop by Ctrl-C, 130; None where nothing was interrupted."""
        return 128 + signal.SIGINT if self._asked else None

    def told(self) -> None:
        """Ends the cell, so that those below it do not run.

        Raises:
          KeyboardInterrupt: The cell was interrupted.
        """
        if self._asked:
            raise KeyboardInterrupt("stopped between two steps; with a run_dir all is saved, and the same cell goes on")
