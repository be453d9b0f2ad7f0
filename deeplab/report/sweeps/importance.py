"""Importance of hyper-parameters: functional analysis of variance of a random forest.

A forest is fitted to the results of the settings. Each tree is constant on boxes, so that its averages over all other
arguments, and the variance of these averages, are exact sums over its leaves.

Source: Hutter, Hoos and Leyton-Brown 2014, https://proceedings.mlr.press/v32/hutter14.html.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

MIN_SETTINGS = 8
"""Least number of settings from which a forest is fitted."""


class Importance(NamedTuple):
    """Shares of the variance over the space of settings, by tree.

    Attributes:
      main: Shares of each argument alone, [T, D].
      pairs: Shares of the interaction of two arguments, [T], by their indices.
      curves: Mean over all other arguments at `POSITIONS`, averaged over the trees, [D, P].
      explained: R^2 of the forest on the settings that each tree has not seen.
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

    With f a tree, V its variance and f_j its mean over all arguments but j, the share of j is Var(f_j) / V. That of the
    interaction of i and j is (Var(f_ij) - Var(f_i) - Var(f_j)) / V.

    Args:
      x: Settings, scaled to [0, 1].
      y: Their results, finite.
      trees: Number of trees, T.
      bootstrap: Whether each tree is fitted to settings drawn with replacement.
      seed: Seeds the draws.

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
        """Variance of the mean over all other arguments, as a function of one argument or of two."""
        edges = [np.unique([0.0, 1.0, *self.low[:, j], *self.high[:, j]]) for j in arguments]
        squares = (self._mean(arguments, [(e[1:] + e[:-1]) / 2 for e in edges]) - self.mean) ** 2
        for e in reversed(edges):
            squares = squares @ np.diff(e)
        return float(squares)

    def curve(self, argument: int) -> Float[np.ndarray, " P"]:
        return self._mean((argument,), [POSITIONS])

    def _mean(self, arguments: tuple[int, ...], at: list[np.ndarray]) -> np.ndarray:
        """Mean over all other arguments on the grid of the given positions."""
        others = np.delete(self.sides, arguments, axis=1).prod(axis=1)
        inside = [
            ((self.low[:, [j]] <= positions) & (positions < self.high[:, [j]])).astype(float)
            for j, positions in zip(arguments, at, strict=True)
        ]
        axes = "pq"[: len(at)]  # of the positions; l is that of the leaves
        return np.einsum(f"l,{','.join('l' + axis for axis in axes)}->{axes}", self.value * others, *inside)
