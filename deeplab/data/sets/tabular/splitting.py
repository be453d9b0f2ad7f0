"""Rows of a table in splits: by chance, by classes, by groups, by time, or as a column says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, Shaped

from deeplab.core.errors import UserError
from deeplab.data.prepare.frames import Frame

Rows = Mapping[str, Int[np.ndarray, " M"]]
"""Rows of each split, in the order of the table."""


def rows(
    frame: Frame,
    strata: Shaped[np.ndarray, " N"],
    shares: Mapping[str, float],
    fold: int,
    seed: int,
    *,
    split: str = "",
    group: str = "",
    time: str = "",
) -> Rows:
    """The rows of "train" and of each of `shares`, or those that the column `split` says.

    Args:
      frame: The table.
      strata: Class of each row; the same for all where there are no classes.
      shares: Share of each split but "train"; the latest rows are in the first.
      fold: Index of the part that is the first split.
      seed: Seed of the shuffle.
      split: Name of the column with the split of each row.
      group: Name of the column all of whose equal rows are in one split.
      time: Name of the column by whose order the rows are split.

    Raises:
      UserError: a split is empty, or the column says no split or time.
    """
    if split:
        return by_column(frame, split)
    if time:
        kind = frame.kind(time)
        if kind == "category" or frame.missing(time).any():
            raise UserError(f"column {time!r} of {frame.where} splits by time, and must be a date in every row")
        part = by_time(frame.numbers(time) if kind == "number" else frame.dates(time), shares)
    elif group:
        names = np.array([str(value) for value in frame.texts(group)])  # those that are missing are one group
        part = by_group(names, shares, fold, seed)
    else:
        part = by_chance(strata, shares, fold, seed)
    found = {name: np.flatnonzero(part == number) for number, name in enumerate(("train", *shares))}
    for name, chosen in found.items():
        if not len(chosen):
            raise UserError(f"split {name!r} of {frame.where} gets none of {len(frame):,} rows; give other shares")
    return found


def shares(test: float, validation: float, fold: int) -> dict[str, float]:
    """The share of each split but "train", as `rows` reads them.

    Raises:
      UserError: nothing is left for training or for the test, or there is no such fold.

    Example:
      >>> shares(0.2, 0.0, 4), shares(0.2, 0.1, 0)
      ({'test': 0.2}, {'test': 0.2, 'validation': 0.1})
    """
    if not (test > 0 and validation >= 0 and test + validation < 1):
        raise UserError(
            f"test is {test} and validation {validation}, expected shares that leave some for training and for the test"
        )
    if not 0 <= fold < round(1 / test):
        raise UserError(f"fold is {fold}, expected 0 to {round(1 / test) - 1}, where test is {test}")
    return {"test": test} | ({"validation": validation} if validation else {})


def by_chance(
    strata: Shaped[np.ndarray, " N"], shares: Mapping[str, float], fold: int, seed: int
) -> Int[np.ndarray, " N"]:
    """The split of each row, as a number: 0 for training, then one for each of `shares`.

    The rows are shuffled, sorted by stratum, and every k-th is taken: so a class has the same share in every split, and
    folds 0 to k - 1 of the share 1 / k hold each row once.

    Example:
      >>> part = by_chance(np.array(list("aaaaaaaabb")), {"test": 0.5}, 0, 0)
      >>> int(part.sum()), int(part[-2:].sum())
      (5, 1)
    """
    order = np.random.default_rng(seed).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    part, left = np.zeros(len(strata), np.int64), 1.0
    for number, share in enumerate(shares.values(), start=1):
        free = order[part[order] == 0]
        # Where floor((i + fold) share) grows. The small number is for sums of rounded shares, such as 5 * 0.2.
        steps = np.floor((np.arange(len(free) + 1) + fold) * (share / left) + 1e-9)
        part[free[np.diff(steps) > 0]] = number
        left -= share
    return part


def by_group(
    groups: Shaped[np.ndarray, " N"], shares: Mapping[str, float], fold: int, seed: int
) -> Int[np.ndarray, " N"]:
    """The split of each row, as a number; all rows of a group are in one split. Shares are of the groups."""
    names, member = np.unique(groups, return_inverse=True)
    return by_chance(np.zeros(len(names)), shares, fold, seed)[member]


def by_time(times: Shaped[np.ndarray, " N"], shares: Mapping[str, float]) -> Int[np.ndarray, " N"]:
    """The split of each row, as a number: the latest rows are the first of `shares`. No time is in two splits.

    Example:
      >>> by_time(np.array([3, 1, 2, 5, 4]), {"test": 0.2, "validation": 0.2}).tolist()
      [0, 0, 0, 1, 2]
    """
    ranked, part = np.sort(times), np.zeros(len(times), np.int64)
    for number, share in reversed([*enumerate(np.cumsum([*shares.values()]), start=1)]):
        part[times >= ranked[-max(1, round(share * len(times)))]] = number
    return part


def by_column(frame: Frame, name: str) -> dict[str, np.ndarray]:
    """The rows of each value of a column, one of which is "train".

    Raises:
      UserError: a value is missing, or none is "train".
    """
    values = frame.texts(name)
    if gone := [i for i, value in enumerate(values) if value is None]:
        raise UserError(f"{frame.at(name, gone[0])}: empty, expected the name of the row's split, such as 'train'")
    found = {str(split): np.flatnonzero(values == split) for split in sorted(set(values))}
    if "train" not in found:
        raise UserError(f"column {name!r} of {frame.where} holds {sorted(found)[:6]}, expected 'train' and others")
    return found
