"""Which hyper-parameters matter: functional analysis of variance of a random forest.

A forest is fitted to what settings gave. Each of its trees is constant on boxes, so that averages over all other
arguments, and from them the parts of its variance, are exact sums over its leaves.

Source: Hutter, Hoos and Leyton-Brown 2014, https://proceedings.mlr.press/v32/hutter14.html.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

MIN_SETTINGS = 8
"""Fewer settings than this say nothing about several arguments."""


class Importance(NamedTuple):
    """Shares of the variance over the space of settings, by tree.

    Attributes:
      main: of each argument alone, [T, D].
      pairs: of two arguments beyond what each does alone, by their numbers, [T] each.
      curves: the mean over all other arguments at `POSITIONS`, [D, P], a mean over the trees.
      explained: the share of the variance that the forest predicts of settings which a tree has not seen (R^2).
    """

    main: Float[np.ndarray, "T D"]
    pairs: dict[tuple[int, int], Float[np.ndarray, " T"]]
    curves: Float[np.ndarray, "D P"]
    explained: float


POSITIONS = (np.arange(40) + 0.5) / 40


def fanova(
    x: Float[np.ndarray, "N D"], y: Float[np.ndarray, " N"], *, trees: int = 64, bootstrap: bool = True, seed: int = 0
) -> Importance:
    """Decomposes the variance of a forest over the unit cube.

    With f a tree and V its variance, the mean over all arguments but j is f_j(x_j), and j's share is Var(f_j) / V; that
    of i and j together is (Var(f_ij) - Var(f_i) - Var(f_j)) / V.

    Args:
      x: settings, in [0, 1].
      y: what they gave, finite.
      trees: T.
      bootstrap: whether each tree sees a draw of the settings, with replacement.
      seed: of the draws.

    Example:
      >>> x = np.stack(np.meshgrid(*[(np.arange(8) + 0.5) / 8] * 2), axis=-1).reshape(-1, 2)
      >>> found = fanova(x, 2 * x[:, 0] + x[:, 1], trees=1, bootstrap=False)
      >>> found.main.round(3).tolist(), {pair: share.round(3).tolist() for pair, share in found.pairs.items()}
      ([[0.8, 0.2]], {(0, 1): [0.0]})
    """
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(trees, bootstrap=bootstrap, oob_score=bootstrap, random_state=seed).fit(x, y)
    D, found = x.shape[1], [_Tree(tree.tree_, x.shape[1]) for tree in forest.estimators_]
    main = np.array([[tree.variance(j) for j in range(D)] for tree in found])
    totals = np.array([max(tree.total, 1e-30) for tree in found])
    pairs = {}
    for i, j in itertools.combinations(range(D), 2):
        both = np.array([tree.variance(i, j) for tree in found])
        pairs[i, j] = np.maximum(both - main[:, i] - main[:, j], 0) / totals
    curves = np.mean([[tree.curve(j) for j in range(D)] for tree in found], axis=0)
    return Importance(main / totals[:, None], pairs, curves, float(forest.oob_score_) if bootstrap else 1.0)


class _Tree:
    """The leaves of a tree as boxes: `low` and `high` [L, D], and `value` [L]."""

    def __init__(self, tree: Any, dimensions: int):
        boxes, todo = [], [(0, np.zeros(dimensions), np.ones(dimensions))]
        while todo:
            node, low, high = todo.pop()
            if tree.children_left[node] < 0:
                boxes.append((low, high, tree.value[node].item()))
                continue
            j, cut = tree.feature[node], tree.threshold[node]
            below, above = high.copy(), low.copy()
            below[j], above[j] = min(high[j], cut), max(low[j], cut)
            todo += [(tree.children_left[node], low, below), (tree.children_right[node], above, high)]
        self.low, self.high, self.value = map(np.array, zip(*boxes, strict=True))
        self.sides = self.high - self.low
        volume = self.sides.prod(axis=1)
        self.mean = float(volume @ self.value)
        self.total = float(volume @ (self.value - self.mean) ** 2)

    def variance(self, *arguments: int) -> float:
        """That of the mean over all other arguments, of one argument or of two."""
        edges = [np.unique([0.0, 1.0, *self.low[:, j], *self.high[:, j]]) for j in arguments]
        squares = (self._mean(arguments, [(e[1:] + e[:-1]) / 2 for e in edges]) - self.mean) ** 2
        for e in reversed(edges):
            squares = squares @ np.diff(e)
        return float(squares)

    def curve(self, argument: int) -> Float[np.ndarray, " P"]:
        return self._mean((argument,), [POSITIONS])

    def _mean(self, arguments: tuple[int, ...], at: list[np.ndarray]) -> np.ndarray:
        """The mean over all other arguments at the product of places."""
        others = np.delete(self.sides, arguments, axis=1).prod(axis=1)
        inside = [
            ((self.low[:, [j]] <= places) & (places < self.high[:, [j]])).astype(float)
            for j, places in zip(arguments, at, strict=True)
        ]
        axes = "pq"[: len(at)]  # of the places; l is the leaves'
        return np.einsum(f"l,{','.join('l' + axis for axis in axes)}->{axes}", self.value * others, *inside)
