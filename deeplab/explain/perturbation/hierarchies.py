"""Coalitions that respect a hierarchy of players: unions come and go as a whole for all who are outside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from deeplab.core.errors import UserError

Hierarchy = Sequence[Any]
"""Nested lists of the numbers of players."""

Shares = list[tuple[np.ndarray, np.ndarray, np.ndarray]]
"""For each player, the weights of what it adds, and the rows of the coalitions with it and without it."""

_MOST = 2**16


def flat(players: int) -> Hierarchy:
    """No hierarchy."""
    return range(players)


def coalitions(tree: Hierarchy, players: int) -> tuple[np.ndarray, Shares]:
    """All coalitions that Owen values need [N, M]; those of Shapley values where nothing is nested.

    Raises:
      UserError: there are too many of them, or the hierarchy has not each player once.
    """
    _check(tree, players)
    needed = min(2**players, 2 * _contexts(tree, 1))
    if needed > _MOST:
        raise UserError(
            f"{players} players have {needed} coalitions, more than {_MOST}; take permutation_shapley or kernel_shap, "
            "which draw some of them, or give groups= or hierarchy= of fewer"
        )
    found = {
        player: (rows, weights) for player, rows, weights in _leaves(tree, np.zeros((1, players), bool), np.ones(1))
    }
    without = [_packed(found[player][0]) for player in range(players)]
    with_it = [_packed(found[player][0] | (np.arange(players) == player)) for player in range(players)]
    packed, places = np.unique(np.concatenate([*without, *with_it]), return_inverse=True)
    ends = np.cumsum([len(rows) for rows in (*without, *with_it)])[:-1]
    places = np.split(places.reshape(-1), ends)
    shares = [(found[i][1], places[players + i], places[i]) for i in range(players)]
    return np.unpackbits(packed[:, None].view(np.uint8), axis=1, bitorder="little")[:, :players].astype(bool), shares


def levels(tree: Hierarchy, players: int) -> np.ndarray:
    """The number of the union of each player, from the outermost on, [depth, M].

    Raises:
      UserError: the hierarchy has not each player once.
    """
    _check(tree, players)
    rows = np.zeros((_depth(tree), players), int)

    def number(tree: Hierarchy, depth: int) -> None:
        for child in tree:
            members = list(_members(child))
            rows[depth:, members] = min(members)
            if not _is_player(child):
                number(child, depth + 1)

    number(tree, 0)
    return rows


def _leaves(tree: Any, rows: np.ndarray, weights: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each player with the coalitions that it may join [N, M], and the probability of each."""
    if _is_player(tree):
        yield int(tree), rows, weights
        return
    union = np.zeros((len(tree), rows.shape[1]), bool)
    for i, child in enumerate(tree):
        union[i, list(_members(child))] = True
    k = len(tree)
    subsets = (np.arange(2 ** (k - 1))[:, None] >> np.arange(k - 1) & 1).astype(bool)
    chance = np.array([1 / (k * math.comb(k - 1, size)) for size in subsets.sum(axis=1)])
    for i, child in enumerate(tree):
        joined = subsets @ np.delete(union, i, axis=0)
        both = (rows[:, None] | joined[None]).reshape(-1, rows.shape[1])
        yield from _leaves(child, both, (weights[:, None] * chance[None]).reshape(-1))


def _packed(rows: np.ndarray) -> np.ndarray:
    """Each row of flags as one value that sorts."""
    packed = np.packbits(rows, axis=1, bitorder="little")
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    return (
        packed.view(np.uint64)[:, 0]
        if packed.shape[1] == 8
        else packed.view([("", np.uint64)] * (packed.shape[1] // 8))[:, 0]
    )


def _contexts(tree: Any, above: int) -> int:
    """The number of coalitions that the players may join, all together."""
    return above if _is_player(tree) else sum(_contexts(child, above * 2 ** (len(tree) - 1)) for child in tree)


def _depth(tree: Any) -> int:
    return 0 if _is_player(tree) else 1 + max(map(_depth, tree))


def _members(tree: Any) -> Iterator[int]:
    if _is_player(tree):
        yield int(tree)
    else:
        for child in tree:
            yield from _members(child)


def _is_player(tree: Any) -> bool:
    return isinstance(tree, int | np.integer)


def _check(tree: Hierarchy, players: int) -> None:
    members = sorted(_members(tree))
    if members != list(range(players)):
        raise UserError(f"the hierarchy has the players {members}; give each of 0 to {players - 1} once")
