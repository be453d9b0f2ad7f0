"""Whether examples or groups of one split are in another, too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped, UInt64


def digests(arrays: Sequence[np.ndarray]) -> UInt64[np.ndarray, " N"]:
    """A number for each example, equal for those whose arrays, [N, ...] each, are equal.

    Example:
      >>> a, b, c = digests([np.array([[1, 2], [3, 4], [1, 2]])])
      >>> a == c, a == b
      (np.True_, np.False_)
    """
    flat = [np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8) for array in arrays]
    joined = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
    made = b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in np.ascontiguousarray(joined))
    return np.frombuffer(made, np.uint64)


def equal_examples(of: Mapping[str, np.ndarray], noun: str = "example") -> list[str]:
    """A note for each split with examples that are in an earlier one, too: a model may have learned them by heart.

    Args:
      of: `digests` of each split; those of "train" come first.
      noun: What an example is called.

    Example:
      >>> equal_examples({"test": np.array([1, 2]), "train": np.array([2, 3])})
      ["1 of 2 examples of split 'test' are equal to a training example"]
    """
    order = sorted(of, key=lambda split: split != "train")
    notes = []
    for i, split in enumerate(order):
        for earlier in order[:i]:
            if equal := int(np.isin(of[split], of[earlier]).sum()):
                to = f"a training {noun}" if earlier == "train" else f"one of split {earlier!r}"
                notes.append(f"{equal:,} of {len(of[split]):,} {noun}s of split {split!r} are equal to {to}")
    return notes


def shared_groups(of: Mapping[str, Shaped[np.ndarray, " N"]], name: str = "") -> list[str]:
    """A note if groups, such as patients, are in training and in another split.

    Args:
      of: Group of each example of each split.
      name: Name of the groups' column.
    """
    train = set(of.get("train", ()))
    shared = train & {group for split, given in of.items() if split != "train" for group in given}
    named = f"groups of {name!r}" if name else "groups"
    return [f"{named} in training and in another split: {len(shared):,}"] * bool(shared)
