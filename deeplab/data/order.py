"""The order of the examples: a permutation that needs no memory.

The example at position p of epoch e is a function of (seed, e, p) alone. Nothing is saved for a restart,
nothing is fast-forwarded, and every host computes just the positions it needs.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 6  # four are enough for a strong round function (Luby and Rackoff 1988); ours is a cheap hash


def _mix(x: np.ndarray, key: int) -> np.ndarray:
    """Avalanches 32-bit integers (the finaliser of MurmurHash3, Appleby 2011)."""
    x = x ^ np.uint32(key)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def permute(positions: np.ndarray, size: int, seed: int, epoch: int) -> np.ndarray:
    """Maps positions in [0, size) to examples in [0, size), one to one.

    A Feistel network over the smallest even number of bits that holds `size`; what falls outside walks on
    along its cycle until it falls inside (Black and Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9).

    Args:
      positions: integers in [0, size), any shape.
      size: number of examples, at most 2**32.
      seed: of the order.
      epoch: each epoch has an order of its own.

    Returns:
      Example numbers as int64, in the shape of `positions`.

    Example:
      >>> sorted(permute(np.arange(5), 5, seed=0, epoch=3).tolist())
      [0, 1, 2, 3, 4]
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = np.uint32(2**half - 1)
    keys = np.random.SeedSequence([seed, epoch]).generate_state(_ROUNDS, np.uint32)

    def network(x: np.ndarray) -> np.ndarray:
        left, right = (x >> half).astype(np.uint32), x.astype(np.uint32) & mask
        for key in keys:
            left, right = right, left ^ (_mix(right, key) & mask)
        return (left.astype(np.int64) << half) | right.astype(np.int64)

    out = network(np.asarray(positions, np.int64))
    while (outside := out >= size).any():
        out = np.where(outside, network(out), out)
    return out


def stream(start: int, count: int, size: int, seed: int) -> np.ndarray:
    """Examples at `count` positions of the endless training stream, from position `start`.

    The stream is one permutation after another: every epoch visits each example once, and a batch may reach over
    the border of two epochs, so that none is dropped and none is short.
    """
    positions = np.arange(start, start + count, dtype=np.int64)
    epochs = positions // size
    out = np.empty(count, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        out[here] = permute(positions[here] % size, size, seed, int(epoch))
    return out
