"""Questions about what users did: nothing that is asked is among what is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.features.interactions import hide_ratings, next_items

SIZE, LENGTH = 12, 4
ask = {count: jax.jit(next_items(LENGTH, count, 0.5)) for count in (None, 2)}
hide = jax.jit(hide_ratings(0.4, 0.5))


def user(size: int) -> dict:
    """One who has seen the films 1, 2, ..., size, and then size + 1."""
    sequence = jnp.where(jnp.arange(SIZE) < size, jnp.arange(SIZE) + 1, 0)
    more = {"user": jnp.array(7), "profile": jnp.ones(3), "count": jnp.zeros(SIZE + 2)}
    return {"sequence": sequence.astype(jnp.int16), "target": jnp.array(size + 1), **more}


@given(st.integers(0, 99), st.integers(1, SIZE - 1), st.sampled_from([None, 2]))
@settings(max_examples=30, deadline=None)
def test_each_position_asks_for_what_followed(seed, size, num_positions):
    out = ask[num_positions](user(size), jax.random.key(seed))
    history, targets = np.asarray(out["history"]), np.asarray(out["targets"])
    positions = np.asarray(out["positions"])
    real = targets > 0
    assert real.sum() == min(size, LENGTH, num_positions or LENGTH)
    assert len(set(positions)) == len(positions)
    np.testing.assert_array_equal(targets[real], history[positions[real]] + 1)
    window = history[history > 0]
    np.testing.assert_array_equal(window, window[0] + np.arange(len(window)))
    assert not history[len(window) :].any()


def test_every_window_comes_and_the_user_is_sometimes_forgotten():
    outs = [ask[None](user(6), jax.random.key(seed)) for seed in range(40)]
    assert {int(out["history"][0]) for out in outs} == {1, 2, 3}
    assert {(int(out["user"]), float(out["profile"].sum())) for out in outs} == {(0, 0.0), (7, 3.0)}


@pytest.mark.parametrize("size", [0, 1, LENGTH, SIZE])
def test_an_evaluation_asks_at_the_end(size):
    out = next_items(LENGTH)(user(size), None)
    last = list(range(max(size - LENGTH, 0) + 1, size + 1))
    assert out["history"].tolist() == last + [0] * (LENGTH - len(last))
    assert (out["positions"].tolist(), out["targets"].tolist()) == ([max(len(last) - 1, 0)], [size + 1])
    assert np.flatnonzero(out["seen"]).tolist() == list(range(size + 1))
    assert int(out["user"]) == 7


def test_a_users_own_file_has_no_target():
    example = {name: value for name, value in user(3).items() if name != "target"}
    assert "targets" not in next_items(LENGTH)(example, None)


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_hidden_ratings_are_asked_for_and_others_known(seed):
    ratings = jax.random.randint(jax.random.key(seed), (50,), 0, 6).astype(jnp.int8)
    example = {"known": ratings, "rating": ratings, "user": jnp.array(7), "profile": jnp.ones(3)}
    out = hide(example, jax.random.key(seed))
    known, rating = np.asarray(out["known"]), np.asarray(out["rating"])
    np.testing.assert_array_equal(known + rating, ratings)
    assert not (known * rating).any()
    assert (rating > 0).sum() < 0.7 * 50
    assert hide_ratings()(example, None) is example


def test_the_share_that_is_hidden_goes_up_to_the_most():
    ratings = jnp.ones((2_000,), jnp.int8)
    example = {"known": ratings, "rating": ratings, "user": jnp.array(7)}
    shares = [float((hide(example, jax.random.key(seed))["rating"] > 0).mean()) for seed in range(30)]
    assert 0.25 < max(shares) < 0.45
    assert min(shares) < 0.1


def test_more_positions_than_the_window_has_are_refused():
    with pytest.raises(UserError, match="num_positions is 5, expected at most 4, the length of the window"):
        next_items(4, 5)
    with pytest.raises(UserError, match="length is 0, expected 1 or more"):
        next_items(0)
