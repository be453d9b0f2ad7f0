"""The order of the examples: a permutation that needs no memory.

The example at position p of epoch e is a function of (seed, e, p) alone. A restart needs no saved state and no
fast-forwarding, and every host computes only the positions that it needs.
"""

from __future__ import annotations

import math

import numpy as np

SUBSET = 2**32 - 1
"""An epoch that no run reaches: its order decides which examples a fraction of the set has."""

_ROUNDS = 4  # each mixes both halves; two are enough for a strong hash (Luby and Rackoff 1988), and ours is a cheap one


def _hash(x: np.ndarray, key: np.ndarray, below: int) -> np.ndarray:
    """Hashes 32-bit integers to [0, below): two rounds of multiplication and shift, then the high bits.

    The constants are MurmurHash3's (Appleby 2011). Multiplication reduces to the range, without the division of `%`
    (Lemire 2019, https://doi.org/10.1145/3230636).
    """
    x = (x ^ key) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0xC2B2AE35)
    return ((x ^ (x >> np.uint32(16))).astype(np.uint64) * np.uint64(below) >> np.uint64(32)).astype(np.uint32)


def permute(positions: np.ndarray, size: int, seed: int, epoch: int | np.ndarray) -> np.ndarray:
    """Maps positions in [0, size) to examples in [0, size), one to one.

    A generalized Feistel network (Black and Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9): a position is a
    pair (l, r) with 0 <= l < a and 0 <= r < b, where a b is just above `size`, and each round adds a hash of one half
    to the other, modulo a or b. The few results outside the range are mapped again until they fall inside.

    Args:
      positions: Integers in [0, size), [N].
      size: Number of examples, at most 2**32.
      seed: Seed of the order.
      epoch: Epoch of all positions, or of each of them in ascending order. Each epoch has an order of its own.

    Returns:
      Example numbers, [N] int64.

    Example:
      >>> sorted(permute(np.arange(5), 5, seed=0, epoch=3).tolist())
      [0, 1, 2, 3, 4]
    """
    a = math.isqrt(size - 1) + 1
    b = -(-size // a)
    epochs, which = np.unique(np.broadcast_to(epoch, positions.shape), return_inverse=True)
    # One column of keys for each epoch, and one row for each half of a round.
    states = [np.random.SeedSequence([seed, e]).generate_state(2 * _ROUNDS, np.uint32) for e in epochs]
    keys = np.array(states, np.uint32).reshape(-1, 2 * _ROUNDS).T

    def network(x: np.ndarray, which: np.ndarray) -> np.ndarray:
        left, right = (part.astype(np.uint32) for part in np.divmod(x, b))
        for even, odd in keys.reshape(_ROUNDS, 2, -1):
            left = _add(left, _hash(right, even[which], a), a)
            right = _add(right, _hash(left, odd[which], b), b)
        return left.astype(np.int64) * b + right

    out = network(np.asarray(positions, np.int64), which)
    while (outside := np.flatnonzero(out >= size)).size:
        out[outside] = network(out[outside], which[outside])
    return out


def _add(x: np.ndarray, y: np.ndarray, modulus: int) -> np.ndarray:
    """x + y modulo `modulus`, of two numbers below it."""
    total = x + y
    return np.minimum(total, total - np.uint32(modulus))  # the difference wraps to a huge number where it is negative


def stream(start: int, count: int, size: int, seed: int) -> np.ndarray:
    """Examples at `count` positions of the endless training stream, from position `start`.

    The stream is one permutation after another. Every epoch visits each example once, and a batch may span two epochs,
    so that no example is dropped and no batch is short.

    Example:
      >>> first, second = stream(0, 10, size=5, seed=0).reshape(2, 5).tolist()
      >>> sorted(first) == sorted(second) == [0, 1, 2, 3, 4], first == second
      (True, False)
    """
    return at(np.arange(start, start + count, dtype=np.int64), size, seed)


def at(positions: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Examples at any positions of that stream.

    Example:
      >>> bool((at(np.array([3, 9]), 5, seed=0) == stream(0, 10, 5, seed=0)[[3, 9]]).all())
      True
    """
    return permute(positions % size, size, seed, positions // size)
