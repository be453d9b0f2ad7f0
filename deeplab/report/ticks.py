"""Ticks of a logarithmic axis, as many as have room for their labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

_FEW = 3  # ticks: with fewer, a reader cannot tell the scale


def log_ticks(low: float, high: float, extents: Callable[[float], float], length: float) -> list[float]:
    """Ticks within [low, high] whose labels do not touch: 1, 2 and 5 of each decade, or fewer; even in a narrow one.

    Args:
      low: Least value of the axis, above 0.
      high: Largest value of the axis.
      extents: Function from a tick to the length that its label takes along the axis, with the space beside it.
      length: Length of the axis, in the same unit.

    Example:
      >>> log_ticks(1e-3, 1e-1, lambda x: 20, 300), log_ticks(1e-3, 1e-1, lambda x: 50, 300)
      ([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1], [0.001, 0.003, 0.01, 0.03, 0.1])
      >>> log_ticks(1e-12, 1e3, lambda x: 40, 300), log_ticks(0.2, 0.4, lambda x: 30, 300)
      ([1e-12, 1e-10, 1e-08, 1e-06, 0.0001, 0.01, 1.0, 100.0], [0.2, 0.25, 0.3, 0.35, 0.4])
    """
    fitting = [ticks for ticks in _candidates(low, high) if _fits(ticks, low, high, extents, length)]
    return next((ticks for ticks in fitting if len(ticks) >= _FEW), max(fitting, key=len, default=[]))


def _candidates(low: float, high: float) -> Iterator[list[float]]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for every in range(1, last - first + 2):
        decades = [d for d in range(first, last + 1) if d % every == 0]
        for digits in ("125", "13", "1") if every == 1 else ("1",):
            yield _within([float(f"{digit}e{d}") for d in decades for digit in digits], low, high)
    step = 10.0 ** math.floor(math.log10(high - low))
    for size in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0):
        numbers = range(math.ceil(low / (size * step) - 1e-9), math.floor(high / (size * step) + 1e-9) + 1)
        if len(numbers) < 20:
            yield _within([float(f"{number * size * step:.6g}") for number in numbers], low, high)


def _within(ticks: Sequence[float], low: float, high: float) -> list[float]:
    return [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def _fits(ticks: Sequence[float], low: float, high: float, extents: Callable[[float], float], length: float) -> bool:
    scale = length / math.log(high / low)
    return all(scale * math.log(b / a) >= (extents(a) + extents(b)) / 2 for a, b in itertools.pairwise(ticks))
