"""Edit distance: the textbook's table, at any padding."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.metrics.edits import character_errors, edit_distance

SIZE = 6
sequences = st.lists(st.integers(1, 3), max_size=SIZE)
distance = jax.jit(edit_distance)


def table(r: list[int], g: list[int]) -> int:
    """Wagner and Fischer's table, cell by cell."""
    d = np.zeros((len(r) + 1, len(g) + 1), int)
    d[:, 0], d[0, :] = np.arange(len(r) + 1), np.arange(len(g) + 1)
    for i in range(1, len(r) + 1):
        for j in range(1, len(g) + 1):
            d[i, j] = min(d[i - 1, j - 1] + (r[i - 1] != g[j - 1]), d[i - 1, j] + 1, d[i, j - 1] + 1)
    return int(d[-1, -1])


def padded(tokens: list[int], rest: int) -> tuple[jax.Array, jax.Array]:
    return jnp.array(tokens + [rest] * (SIZE - len(tokens))), jnp.int32(len(tokens))


@settings(max_examples=200, deadline=None)
@given(sequences, sequences, st.integers(0, 3))
def test_it_is_the_table(r, g, rest):
    """Whatever the padding holds, the tokens of sequences among it."""
    assert int(distance(*padded(r, rest), *padded(g, 3 - rest))) == table(r, g)


def test_characters():
    assert character_errors(["kitten", "", "abc"], ["sitting", "ab", "abc"]) == (5, 9)
