"""SIGTERM and Ctrl-C: the first asks the loop to save and stop, the second leaves at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from deeplab.cli.group import PULSE
from deeplab.scale.processes.watch import Watch


class Stop:
    """Whether, and by which signal, the run was asked to stop. A callable, as `fit` wants it.

    With several processes a signal to one of them stops all, after the same step.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.signal: int | None = None

    def __call__(self) -> bool:
        self.signal = self._watch.boundary()
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.signal or 0)


@contextmanager
def stop_on_signal(watch: Watch) -> Iterator[Stop]:
    """Within it, a signal sets a flag: the state is donated in mid-step, and only the loop can save it."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        # A supervisor passes on a signal that a scheduler may send to this process, too; the second is its business.
        if asked and PULSE not in os.environ:
            os._exit(128 + number)
        asked = True
        watch.ask(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield Stop(watch)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
