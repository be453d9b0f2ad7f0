"""The schedules of AutoAttack: the checkpoints of Auto-PGD, and the sizes of Square's squares."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from deeplab.robust.attacks.norms import L1, LINF, Norm

_STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # radius and share of the steps of each stage in the sum norm
_UNTIL = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # the last query of each area p, p / 2, p / 4, ...


class Plan(NamedTuple):
    """What happens at each step; the first step of a stage only looks at where it begins.

    Attributes:
      enters: Whether a stage begins.
      first: Whether it is the first step of a stage after that.
      window: Number of steps since the last checkpoint, if there is one after the step; else 0.
      radius: Radius in units of the attack's.
      last: Whether the stage is the last.
    """

    enters: Any
    first: Any
    window: Any
    radius: Any
    last: Any


def plan_of(steps: int, norm: Norm) -> Plan:
    """The checkpoints of AutoAttack: after 22 % of the steps, then each time 3 % sooner, down to 6 %.

    In the sum norm every 4 %, in three stages of falling radius.

    Example:
      >>> plan = plan_of(100, LINF)
      >>> np.flatnonzero(plan.window).tolist(), plan.window[plan.window > 0].tolist()
      ([22, 41, 57, 70, 80, 87, 93, 99], [22, 19, 16, 13, 10, 7, 6, 6])
    """
    stages = [(1.0, steps)]
    if norm is L1:
        counts = [math.ceil(share * steps) for _, share in _STAGES[:-1]]
        stages = [*zip((radius for radius, _ in _STAGES), [*counts, steps - sum(counts)], strict=True)]
    found: list[tuple[bool, bool, int, float, bool]] = []
    for number, (radius, count) in enumerate(stages):
        last = number == len(stages) - 1
        found.append((True, False, 0, radius, last))
        window, since = max(int((0.04 if norm is L1 else 0.22) * count), 1), 0
        for i in range(count):
            since += 1
            checks = since == window
            found.append((False, i == 0, window if checks else 0, radius, last))
            if checks:
                since = 0
                window = window if norm is L1 else max(window - max(int(0.03 * count), 1), max(int(0.06 * count), 1))
    return Plan(*map(np.array, zip(*found, strict=True)))


def sizes_of(queries: int, share: float, H: int, W: int, norm: Norm) -> Int[np.ndarray, " Q"]:
    """Side of the square of each query; odd, and 3 at least, but in the maximum norm.

    Example:
      >>> sizes_of(60, 0.8, 28, 28, LINF)[[0, 10, 11, 50, 51]].tolist()
      [25, 25, 18, 18, 13]
    """
    area = share / 2.0 ** np.searchsorted(_UNTIL, np.arange(queries)) * H * W
    side = np.maximum(np.round(np.sqrt(area)), 1 if norm is LINF else 3).astype(int)
    side = side if norm is LINF else side + (side % 2 == 0)
    return np.minimum(side, min(H, W))
