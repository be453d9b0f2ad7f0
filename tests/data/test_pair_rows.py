"""Packing: nothing is lost, no row mixes its sides, and what does not fit is left out whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.pair_rows import pack, segments

L = 6


def pairs(lengths, weight=None):
    """Pair i holds the number 10 i + 1 on its source, and 10 i + 2 on its target, as often as it is long."""
    batch = {"id": jnp.arange(len(lengths)), "weight": jnp.ones(len(lengths)) if weight is None else weight}
    for side, name in enumerate(("source", "target")):
        counts = np.array([pair[side] for pair in lengths])
        inside = np.arange(L)[None] < counts[:, None]
        tokens = np.where(inside, 10 * np.arange(len(lengths))[:, None] + side + 1, 0)
        example = {name: jnp.asarray(tokens), f"{name}_length": jnp.asarray(counts)}
        batch |= jax.vmap(lambda e: segments(e, None))(example)
    return batch


def sides(packed, row):
    """The pairs of a row: by segment, the tokens on either side."""
    made: dict[int, list] = {}
    for k in np.unique(packed["source_segment"][row][packed["source_segment"][row] > 0]).tolist():
        of = ((packed[name][row], packed[f"{name}_segment"][row]) for name in ("source", "target"))
        made[k] = [np.asarray(tokens)[np.asarray(segment) == k].tolist() for tokens, segment in of]
    return made


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, L), st.integers(1, L)), min_size=8, max_size=8))
def test_every_pair_is_in_one_row_and_whole(lengths):
    packed = jax.jit(pack(4, 4 * L))(jax.random.key(0), pairs(lengths))
    assert packed["source"].shape == packed["target_segment"].shape == (2, 4 * L)
    found = [both for row in range(2) for both in sides(packed, row).values()]
    expected = [[[10 * i + 1] * s, [10 * i + 2] * t] for i, (s, t) in enumerate(lengths)]
    assert sorted(found) == sorted(expected)
    for name in ("source", "target"):  # tokens lie where the segments say, and nowhere else
        np.testing.assert_array_equal(packed[name] > 0, packed[f"{name}_segment"] > 0)
    assert len(set(packed["id"].tolist())) == 2


def test_pairs_of_one_length_are_dealt_out():
    """The parts are (0, 1), (2, 3), (4, 5) and, reversed, (7, 6)."""
    packed = jax.jit(pack(4, 4))(jax.random.key(0), pairs([(1, 1)] * 8))
    assert packed["source"].tolist() == [[1, 21, 41, 71], [11, 31, 51, 61]]


def test_what_does_not_fit_is_left_out_on_both_sides():
    packed = pack(2, 7)(jax.random.key(0), pairs([(2, 2), (4, 6), (2, 2), (4, 4)]))
    found = [both for row in range(2) for both in sides(packed, row).values()]
    assert sorted(found) == [[[1] * 2, [2] * 2], [[21] * 2, [22] * 2], [[31] * 4, [32] * 4]]


def test_one_a_row_leaves_out_the_long():
    packed = pack(1, 4)(jax.random.key(0), pairs([(2, 5), (3, 4)]))
    assert packed["source"].tolist() == [[11, 11, 11, 0], [0, 0, 0, 0]]
    assert packed["weight"].tolist() == [1, 0]


def test_what_has_no_weight_is_left_out():
    packed = pack(2, 12)(jax.random.key(0), pairs([(2, 2), (3, 3)], weight=jnp.array([1.0, 0.0])))
    assert list(sides(packed, 0).values()) == [[[1, 1], [2, 2]]]


def test_a_batch_that_does_not_divide():
    with pytest.raises(UserError, match="batch_size is 3, expected a multiple of 2"):
        pack(2, 12)(jax.random.key(0), pairs([(1, 1)] * 3))


def test_a_row_weighs_what_its_pairs_do():
    """Each weight above 0 became 1."""
    weight = jnp.array([0.25, 0.25, 1.0, 0.5, 1.0, 0.0])
    packed = pack(2, 12)(jax.random.key(0), pairs([(1, 1), (2, 2), (3, 3), (6, 6), (5, 5), (4, 4)], weight=weight))
    expected = [
        np.mean([float(weight[(pair[0][0] - 1) // 10]) for pair in sides(packed, k).values()]) for k in range(3)
    ]
    np.testing.assert_array_equal(packed["weight"], np.float32(expected))


def test_rows_of_no_pair_are_refused():
    with pytest.raises(UserError, match="per_row is 0, expected 1 or more"):
        pack(0, 6)
