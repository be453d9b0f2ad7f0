"""Users' histories as questions: which item is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

AHEAD: Mapping[str, int] = {"train": 2, "validation": 1, "test": 0}
"""Items at the end of a user's that a split does not see."""

_LEAST = 4  # items of a user who is evaluated: one before the target in each split


def users_of(sizes: Sequence[int], split: str) -> np.ndarray:
    """Rows of the users of a split, [N].

    A user with fewer than four items is in training alone, and one with a single item in no split.

    Args:
      sizes: Number of items of each user.
      split: One of `AHEAD`.

    Example:
      >>> [users_of([1, 3, 4], split).tolist() for split in ("train", "test")]
      [[1, 2], [2]]
    """
    return np.flatnonzero(np.array(sizes) >= (2 if split == "train" else _LEAST))


def leave_one_out(seen: Sequence[np.ndarray], split: str, longest: int, num_items: int) -> dict[str, np.ndarray]:
    """The last item of each user for the test, the second last for validation, and the third last in training.

    Args:
      seen: Items of each user, oldest first.
      split: One of `AHEAD`.
      longest: Number of items S before the target that are kept, the latest ones.
      num_items: Number of items V, with number 0.

    Returns:
      `sequence` [N, S], the items before the target, then zeros; `target` [N]; and `count` [1, V], the number of
      events of each item in training. int32 each.

    Example:
      >>> made = leave_one_out([np.array([5, 6, 7, 8])], "validation", longest=3, num_items=9)
      >>> made["sequence"].tolist(), made["target"].tolist(), made["count"][0, 5:].tolist()
      ([[5, 6, 0]], [7], [1, 1, 0, 0])
    """
    rows = users_of([len(items) for items in seen], split)
    sequence, target = np.zeros((len(rows), longest), np.int32), np.zeros(len(rows), np.int32)
    for n, row in enumerate(rows):
        end = len(seen[row]) - 1 - AHEAD[split] * (len(seen[row]) >= _LEAST)
        before = seen[row][max(0, end - longest) : end]
        sequence[n, : len(before)], target[n] = before, seen[row][end]
    trained = [items[: -AHEAD["train"]] if len(items) >= _LEAST else items for items in seen if len(items) > 1]
    count = np.bincount(np.concatenate(trained), minlength=num_items)
    return {"sequence": sequence, "target": target, "count": count[None].astype(np.int32)}
