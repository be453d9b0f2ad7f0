"""The times of a user's series: in order, none twice, at equal steps; errors name the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare.frames import Frame


def check(frame: Frame, time: str, columns: Sequence[str]) -> None:
    """Checks the times of the rows.

    Args:
      frame: The table.
      time: Name of the column of the times, whose steps must be equal. When empty, a single column of dates beside the
        channels must be in order.
      columns: Names of the channels.

    Raises:
      UserError: a time is missing, earlier than the one before it, the same, or at another step; the message names the
        row.

    Example:
      >>> check(Frame({"day": np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "M8[s]")}), "day", ())
    """
    if time:
        name = frame.check(time, "the time")
    else:
        dates = [name for name in frame.columns if name not in columns and frame.kind(name) == "date"]
        if len(dates) != 1:
            return
        name = dates[0]
    kind = frame.kind(name)
    if kind == "category":
        raise UserError(f"column {name!r} of {frame.where} is the time, expected numbers or dates such as 2024-12-31")
    if (gone := frame.missing(name)).any():
        if not time:
            return
        raise UserError(f"{frame.at(name, int(np.flatnonzero(gone)[0]))}: the time is missing")
    times = frame.numbers(name) if kind == "number" else frame.dates(name)
    _check_order(frame, name, times, bool(time))
    if time and len(times) > 2:
        _check_steps(frame, name, times)


def _check_order(frame: Frame, name: str, times: np.ndarray, strictly: bool) -> None:
    steps = np.diff(times.astype(np.float64))
    if len(back := np.flatnonzero(steps < 0)):
        row = int(back[0]) + 1
        raise UserError(
            f"{frame.at(name, row)}: {times[row]} comes after {times[row - 1]}; sort the rows, the oldest first"
        )
    if strictly and len(same := np.flatnonzero(steps == 0)):
        row = int(same[0]) + 1
        raise UserError(
            f"{frame.at(name, row)}: {times[row]} is there twice ({len(same):,} such rows); keep one of them, and give "
            "each series a file of its own"
        )


def _check_steps(frame: Frame, name: str, times: np.ndarray) -> None:
    if times.dtype.kind == "M":
        months = times.astype("M8[M]")
        within = times - months.astype("M8[s]")
        ends = times.astype("M8[D]") == (months + 1).astype("M8[D]") - 1  # of months, of 28 to 31 days
        if (within == within[0]).all() or ends.all():
            times = months
    steps = np.diff(times)
    usual: Any = np.sort(steps)[len(steps) // 2]
    unequal = ~np.isclose(steps, usual) if times.dtype.kind == "f" else steps != usual
    if unequal.any():
        row = int(np.flatnonzero(unequal)[0]) + 1
        raise UserError(
            f"{frame.at(name, row)}: {times[row]} comes {_step(steps[row - 1])} after {times[row - 1]}, expected "
            f"{_step(usual)} ({int(unequal.sum()):,} such rows); add the rows that are missing, without values, and "
            'give fill="previous"; or leave time out, to take the rows as they are'
        )


def _step(step: Any) -> str:
    """A step in words.

    Example:
      >>> _step(np.timedelta64(3600, "s")), _step(np.timedelta64(2, "M")), _step(0.5)
      ('1:00:00', '2 months', '0.5')
    """
    if not isinstance(step, np.timedelta64):
        return f"{step:g}"
    return f"{step.astype(int)} months" if step.dtype == "m8[M]" else str(step.astype("m8[s]").item())
