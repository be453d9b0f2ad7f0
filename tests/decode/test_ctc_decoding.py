"""Decoding by brute force: every path of a tiny case is walked."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.decode.ctc import beam_search, best_path, start, step

T, K = 4, 3
EVERY = 32  # more than the 31 sequences of up to 4 of 2 tokens
logits = st.lists(st.floats(-4, 4, width=32), min_size=T * K, max_size=T * K)
frames = st.integers(0, T)

whole = jax.jit(lambda y, n: beam_search(y, n, T, EVERY))
narrow = jax.jit(lambda y, n: beam_search(y, n, T, 2))
greedy = jax.jit(lambda y, n: best_path(y, n, T))


def log_probs(values: list[float]) -> np.ndarray:
    return np.asarray(jax.nn.log_softmax(np.array(values, np.float32).reshape(T, K)))


def read(path: tuple[int, ...]) -> tuple[int, ...]:
    """Joins equal neighbors, and drops blanks."""
    return tuple(token for token, _ in itertools.groupby(path) if token)


def walked(y: np.ndarray, length: int) -> dict[tuple[int, ...], float]:
    """The log probability of each transcript: the sum over all paths that read as it."""
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(K), repeat=length):
        score = float(sum(y[t, token] for t, token in enumerate(path)))
        total[read(path)] = float(np.logaddexp(total.get(read(path), -np.inf), score))
    return total


def found(result: tuple) -> dict[tuple[int, ...], float]:
    tokens, lengths, scores = map(np.asarray, result)
    rows = zip(tokens, lengths, scores, strict=True)
    return {tuple(row[:n].tolist()): float(score) for row, n, score in rows if score > -np.inf}


@settings(max_examples=100, deadline=None)
@given(logits, frames)
def test_with_room_for_all_the_beam_is_exact(values, length):
    y = log_probs(values)
    expected, result = walked(y, length), found(whole(y, length))
    assert result.keys() == expected.keys()
    for transcript, score in expected.items():
        np.testing.assert_allclose(result[transcript], score, atol=1e-4)
    scores = np.asarray(whole(y, length)[2])
    assert (np.diff(scores[scores > -np.inf]) <= 0).all()


@settings(max_examples=100, deadline=None)
@given(logits, frames)
def test_a_narrow_beam_promises_nothing_that_is_not_there(values, length):
    y = log_probs(values)
    expected = walked(y, length)
    result = found(narrow(y, length))
    assert 1 <= len(result) <= 2
    assert all(score <= expected[transcript] + 1e-4 for transcript, score in result.items())


@settings(max_examples=100, deadline=None)
@given(logits, frames)
def test_greedy_reads_the_best_path(values, length):
    y = log_probs(values)
    tokens, count = greedy(y, length)
    assert tuple(tokens[: int(count)].tolist()) == read(tuple(y[:length].argmax(axis=-1).tolist()))
    assert not tokens[int(count) :].any()


def test_the_longest_transcript_is_cut():
    path = jax.nn.log_softmax(50 * jax.nn.one_hot(jnp.array([1, 2, 1, 2]), K))
    assert [x.tolist() for x in best_path(path, jnp.int32(4), 2)] == [[1, 2], 2]
    tokens, lengths, _ = jax.jit(lambda y: beam_search(y, jnp.int32(4), 2, 4))(path)
    assert int(lengths.max()) <= 2
    assert tokens.shape == (4, 2)


def test_beam_search_adds_up_what_the_best_path_does_not():
    """Graves 2006, figure 2: no token is the best in any frame, and yet one transcript is the likeliest."""
    y = jnp.log(jnp.array([[0.6, 0.4, 1e-9], [0.6, 0.4, 1e-9]]))
    assert int(best_path(y, jnp.int32(2), 2)[1]) == 0
    tokens, lengths, scores = jax.jit(lambda y: beam_search(y, jnp.int32(2), 2, 4))(y)
    assert (tokens[0].tolist(), int(lengths[0])) == ([1, 0], 1)
    np.testing.assert_allclose(jnp.exp(scores[0]), 0.64, rtol=1e-4)


def test_frames_can_be_searched_as_they_arrive():
    """A state and a step for one frame are all that a stream needs."""
    y = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (T, K)))
    state, one_step = start(8, T), jax.jit(step)
    for count in range(T):
        state = one_step(state, y[count])
        tokens, lengths, scores = jax.jit(lambda y, n: beam_search(y, n, T, 8))(y, count + 1)
        best = int(jnp.argmax(jnp.logaddexp(state.blank, state.token)))
        np.testing.assert_array_equal(state.tokens[best], tokens[0])
        assert int(state.lengths[best]) == int(lengths[0])
        np.testing.assert_allclose(jnp.logaddexp(state.blank, state.token)[best], scores[0], rtol=1e-5)
