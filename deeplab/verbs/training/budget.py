"""A budget of time for a training session."""

from __future__ import annotations

import math
import re
import time

import jax

from deeplab.core.errors import UserError
from deeplab.scale import processes

_SECONDS = (86_400, 3_600, 60, 1)
_TEXT = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_EVERY = 16  # dispatches after which several processes agree on the time


def seconds_of(budget: str | float) -> float:
    """Seconds of a budget of time.

    Args:
      budget: Text such as "90s", "10m", "1h30m" or "2d"; or a number of seconds.

    Raises:
      UserError: It is no time above 0.

    Example:
      >>> seconds_of("1h30m"), seconds_of("90s"), seconds_of(2.5)
      (5400.0, 90.0, 2.5)
    """
    if isinstance(budget, str):
        found = _TEXT.fullmatch(budget.replace(" ", ""))
        numbers = found.groups(default="0") if found else ()
        seconds = sum(float(number) * unit for number, unit in zip(numbers, _SECONDS, strict=False))
    else:
        seconds = float(budget)
    if not (0 < seconds < math.inf):
        raise UserError(
            f"the budget is {budget!r}, expected a time above 0 in days, hours, minutes and seconds, such as 90s, 10m, "
            "1h30m or 2d (in Python also a number of seconds)"
        )
    return seconds


class Budget:
    """A predicate that is True once the time is used up; the first dispatch is always made.

    Args:
      given: Text or number of seconds, see `seconds_of`; None for a budget without an end.
      spent: Seconds that have passed before.
    """

    def __init__(self, given: str | float | None, spent: float = 0.0):
        self._seconds = math.inf if given is None else seconds_of(given)
        self._began, self._calls = time.monotonic() - spent, 0
        self.used = False
        self.text = f"{given} s" if isinstance(given, int | float) else str(given)

    def __call__(self) -> bool:
        self._calls += 1
        if self._seconds == math.inf or self._calls == 1:
            return False
        if jax.process_count() == 1:
            self.used = self._elapsed()
        elif self._calls % _EVERY == 0:  # each process makes the same dispatches, and process 0 has the clock
            self.used = bool(processes.allgather_json(self._elapsed())[0])
        return self.used

    def _elapsed(self) -> bool:
        return time.monotonic() - self._began >= self._seconds
