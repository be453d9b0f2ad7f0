"""Effects around training that a command line or a notebook adds."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from deeplab.core.printable import plain_console
from deeplab.experiment import Experiment
from deeplab.verbs.answers.progress import Line, standard
from deeplab.verbs.training.interrupt import Interrupt
from deeplab.verbs.training.progress import Shown, progress


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """Effects around a training run that a command line or a notebook adds.

    Args:
      say: Function that prints a line of text.
      progress: Function from (experiment, first step) to a context that yields what shows progress, or None.
      stop: Predicate called between dispatches; when it returns True, the state is saved and training ends.
      exit_code: Function that returns, after a stop, the exit code of the signal that caused it.
      slow: Context entered around work that takes longer than a dispatch; it receives the name of that work.
      import_seconds: Time from the start of the process to the call, in seconds, for the report.
      line: Function that makes the line on which many runs show how far they are.
      closed: Function called when all is saved and closed; what it raises ends the call.
    """

    say: Callable[[str], None] = lambda text: None
    progress: Callable[[Experiment, int], contextlib.AbstractContextManager[Shown | None]] = lambda experiment, start: (
        contextlib.nullcontext()
    )
    stop: Callable[[], bool] = lambda: False
    exit_code: Callable[[], int | None] = lambda: None
    slow: Callable[[str], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    import_seconds: float | None = None
    line: Callable[[], Line] = standard
    closed: Callable[[], None] = lambda: None


def usual() -> Surroundings:
    """The surroundings of a call from Python: nothing; in a notebook one line of progress, and interrupts that save."""
    console = plain_console()
    if not console.is_jupyter:
        return Surroundings()
    interrupt = Interrupt()

    @contextlib.contextmanager
    def shown(experiment: Experiment, start: int) -> Iterator[Shown]:
        with interrupt.awaited(), progress(console, experiment, start) as line:
            yield line

    return Surroundings(progress=shown, stop=interrupt, exit_code=interrupt.exit_code, closed=interrupt.told)
