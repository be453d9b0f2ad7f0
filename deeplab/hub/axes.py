"""Strings that name axes, applied in both directions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from deeplab.models.foreign import Rule

Groups = list[list[str]]


def groups(side: str) -> Groups:
    """The axes of one side, those in parentheses together.

    Example:
      >>> groups("(h d) c")
      [['h', 'd'], ['c']]
    """
    return [(inner or alone).split() for inner, alone in re.findall(r"\(([^)]*)\)|(\S+)", side)]


def _sizes(side: Groups, shape: Sequence[int], known: Mapping[str, int]) -> dict[str, int]:
    """The size of each axis, from the shape of an array and those that are known.

    Raises:
      ValueError: The shape does not fit.
    """
    sizes = dict(known)
    if len(side) != len(shape):
        raise ValueError(f"{len(side)} axes are named on the side of {list(shape)}")
    for group, size in zip(side, shape, strict=True):
        unknown = [axis for axis in group if axis not in sizes]
        rest = math.prod(sizes[axis] for axis in group if axis in sizes)
        if len(unknown) > 1 or (size % rest if unknown else size != rest):
            raise ValueError(f"{size} of {list(shape)} is not ({' '.join(group)}) with {sizes}")
        sizes.update(dict.fromkeys(unknown, size // rest))
    return sizes


def _flat(side: Groups) -> list[str]:
    return [axis for group in side for axis in group]


def _shape(side: Groups, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(math.prod(sizes[axis] for axis in group) for group in side)


class Axes:
    """The transformation of a rule.

    Args:
      rule: Rule.

    Example (two heads of queries and one of keys, in one kernel of theirs):
      >>> rule = Rule(("query", "key"), "qk", "(p d) c -> c (p d)", cut="p", parts=(2, 1), sizes=(("d", 4),))
      >>> theirs = np.arange(24.0).reshape(12, 2)
      >>> ours = [Axes(rule).ours(theirs, part) for part in (0, 1)]
      >>> [x.shape for x in ours], bool((Axes(rule).theirs(ours) == theirs).all())
      ([(2, 8), (2, 4)], True)
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        left, _, right = rule.axes.partition("->")
        self.left, self.right, self.known = groups(left), groups(right), dict(rule.sizes)

    def shape(self, ours: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """The shape of theirs, from those of our parts.

        Raises:
          IndexError, KeyError, ValueError: The rule is not one of such parts.
        """
        if len(ours) != len(self.rule.parts):
            raise ValueError(f"{len(ours)} of ours, but {len(self.rule.parts)} parts")
        if not self.rule.axes:
            return tuple(ours[0])
        sizes, *others = [self._of_part(shape, part) for part, shape in enumerate(ours)]
        whole = {self.rule.cut: sum(self.rule.parts)} if self.rule.cut else {}
        if any(other | whole != sizes | whole for other in others):
            raise ValueError(f"the parts differ in more than {self.rule.cut!r}")
        return _shape(self.left, sizes | whole)

    def ours(self, theirs: np.ndarray, part: int) -> np.ndarray:
        """One of our parts."""
        if not self.rule.axes:
            return theirs
        cut, parts = self.rule.cut, self.rule.parts
        sizes = _sizes(self.left, theirs.shape, self.known | ({cut: sum(parts)} if cut else {}))
        names = _flat(self.left)
        x = theirs.reshape([sizes[axis] for axis in names])
        if cut:
            begin = sum(parts[:part])
            x = x[(slice(None),) * names.index(cut) + (slice(begin, begin + parts[part]),)]
            sizes[cut] = parts[part]
        right = _flat(self.right)
        alone = [axis for axis in names if axis not in right]  # of one place, as that of a number in a list
        return x.transpose([names.index(axis) for axis in (*right, *alone)]).reshape(_shape(self.right, sizes))

    def theirs(self, ours: Sequence[np.ndarray]) -> np.ndarray:
        """Their tensor, of all our parts."""
        if not self.rule.axes:
            return ours[0]
        left, right, pieces = _flat(self.left), _flat(self.right), []
        right += [axis for axis in left if axis not in right]
        for part, x in enumerate(ours):
            sizes = self._of_part(x.shape, part)
            pieces.append(x.reshape([sizes[a] for a in right]).transpose([right.index(axis) for axis in left]))
        whole = pieces[0]
        if self.rule.cut:
            whole = np.concatenate(pieces, axis=left.index(self.rule.cut))
            sizes[self.rule.cut] = sum(self.rule.parts)
        return whole.reshape(_shape(self.left, sizes))

    def _of_part(self, shape: Sequence[int], part: int) -> dict[str, int]:
        known = self.known | ({self.rule.cut: self.rule.parts[part]} if self.rule.cut else {})
        return _sizes(self.right, shape, known)
