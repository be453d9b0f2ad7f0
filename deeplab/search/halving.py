"""Successive halving: all settings for a short while, the best part of them for longer, the best of those to the end.

Source: Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943; one bracket of Hyperband, Li et al. 2018,
  https://jmlr.org/papers/v18/16-558.html.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np


def rungs(settings: int, eta: int) -> list[float]:
    """Where settings are compared, as parts of a whole run; the best `1 / eta` of them go on from each.

    Of n settings floor(log_eta n) comparisons leave at least one, and the last is at `1 / eta` of the run.

    Example:
      >>> rungs(16, 2), rungs(8, 3), rungs(2, 3)
      ([0.0625, 0.125, 0.25, 0.5], [0.3333333333333333], [])
    """
    count, left = 0, settings
    while (left := left // eta) >= 1:
        count += 1
    return [eta**-k for k in range(count, 0, -1)]


def step_of(rung: float, num_steps: int, cadence: int) -> int:
    """The step of a comparison: that of the first evaluation at or after this part of a run.

    Example:
      >>> step_of(1 / 3, num_steps=1000, cadence=50)
      350
    """
    return min(num_steps, math.ceil(round(rung * num_steps / cadence, 9)) * cadence)


def best(scores: Mapping[str, Sequence[float]], eta: int) -> set[str]:
    """The settings that go on: the best `1 / eta`, at least one, by the mean over their seeds.

    All seeds of a setting go on or none does: the best seeds alone would say nothing about their spread. A seed that
    diverged counts as -inf.

    Example:
      >>> sorted(best({"a": [0.9, 0.1], "b": [0.6, 0.6], "c": [0.2, 0.3], "d": [float("-inf"), 1.0]}, eta=2))
      ['a', 'b']
    """
    means = {name: float(np.mean(seeds)) for name, seeds in scores.items()}
    return set(sorted(means, key=lambda name: -means[name])[: max(1, len(means) // eta)])
