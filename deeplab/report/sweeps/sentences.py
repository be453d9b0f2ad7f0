"""Settings and differences told in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeplab.report.sweeps.intervals import LEVEL, Interval
from deeplab.report.text import is_share, metric

_FEW = 5  # values below which an interval by Student's t leans on the assumption that differences are normal


def named(setting: Mapping[str, Any]) -> str:
    """A setting as text.

    Example:
      >>> named({"width": 8, "norm": True}), named({})
      ('width 8, norm True', 'the only setting')
    """
    return ", ".join(f"{k} {v}" for k, v in setting.items()) or "the only setting"


def told(entry: Mapping[str, Any], name: str, over: str) -> str:
    """A setting and its result.

    Args:
      entry: Entry of a summary.
      name: Name of the metric.
      over: What its runs differ in.

    Example:
      >>> found = {"setting": {"learning_rate": 0.01}, "mean": 0.975, "sd": 0.01, "low": 0.885, "high": 1.065}
      >>> told(found, "accuracy", "2 seeds")
      'learning_rate 0.01: accuracy 97.50 % (s.d. 1.00 %, 2 seeds; 95 % interval 88.50 % to 106.50 %)'
    """
    spread = "" if entry["sd"] is None else f" (s.d. {metric(name, entry['sd'])}, {over}{_ends(name, entry)})"
    return f"{named(entry['setting'])}: {name} {metric(name, entry['mean'])}{spread}"


def _ends(name: str, entry: Mapping[str, Any]) -> str:
    if entry["low"] is None:
        return ""
    return f"; {100 * LEVEL:.0f} % interval {metric(name, entry['low'])} to {metric(name, entry['high'])}"


def signed(name: str, value: float) -> str:
    """A difference of a metric, with its sign; that of shares in percentage points.

    Example:
      >>> signed("accuracy", 0.0123), signed("loss", -0.5)
      ('+1.23 points', '-0.5000')
    """
    size = metric(name, abs(value))
    return f"{'-' if value < 0 else '+'}{size.replace(' %', ' points') if is_share(name) else size}"


def difference(name: str, found: Mapping[str, Any] | Interval | None) -> str:
    """A paired difference with its interval; "" where there is none.

    Example:
      >>> difference("loss", Interval(0.5, 0.1, 0.25, 0.75, 4))
      '+0.5000 (+0.2500 to +0.7500)'
    """
    found = found._asdict() if isinstance(found, Interval) else found
    if found is None or found["low"] is None:
        return ""
    return f"{signed(name, found['mean'])} ({signed(name, found['low'])} to {signed(name, found['high'])})"


def compared(first: str, second: str, name: str, found: Interval, unit: str, smaller: bool) -> str:
    """Which of two is better, by the paired interval of second - first, and what to bear in mind.

    Args:
      first, second: Names of the two.
      name: Name of the metric.
      found: Interval of the difference.
      unit: What the values are of: "seed" or "fold".
      smaller: Whether smaller is better.

    Example:
      >>> compared("plain", "idea", "loss", Interval(-0.5, 0.1, -0.75, -0.25, 5), "seed", True)
      'loss of idea - plain: -0.5000 (-0.7500 to -0.2500, a 95 % interval, paired over 5 seeds). idea is better.'
      >>> compared("plain", "idea", "loss", Interval(-0.5, None, None, None, 1), "seed", True)
      'loss of idea - plain: -0.5000. One seed has no spread, and tells nothing: give 5 or more.'
    """
    if found.mean != found.mean:
        return f"{name} of {second} - {first}: a run diverged, and there is no difference to tell."
    head, count = f"{name} of {second} - {first}: {signed(name, found.mean)}", f"{found.n} {unit}s"
    if found.low is None or found.high is None:
        return f"{head}. One {unit} has no spread, and tells nothing: give {_FEW} or more."
    head += (
        f" ({signed(name, found.low)} to {signed(name, found.high)}, a {100 * LEVEL:.0f} % interval, paired over "
        f"{count}). "
    )
    if found.tells:
        head += f"{second if (found.mean < 0) == smaller else first} is better."
    else:
        head += f"The interval holds 0: {count} do not tell which is better."
    if unit == "fold":
        head += " Folds share training examples: the interval has the correction of Nadeau and Bengio."
    if found.n < _FEW:
        head += f" So few {unit}s are little to judge the spread by: give {_FEW} or more before a claim."
    return head
