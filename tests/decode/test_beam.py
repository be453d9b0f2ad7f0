"""Beam search: greedy with a beam of one, exact with room for every sequence, and its score is what it says."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.decode.beam import beam_search
from deeplab.decode.protocol import Decoder

V, T, BEGIN, END = 4, 3, 1, 2  # sequences: 1 + 3 + 9 that end, 27 that are cut


def step(tokens, cache, position):
    """Each token depends on the last one, on its position and, through the cache, on all that were before."""
    (table, total), token = cache, tokens[:, 0]
    total = total + token
    rows = jnp.arange(len(token))
    logits = table[rows, position, token] + jnp.sin(total)[:, None] * jnp.arange(V)[None]
    return logits[:, None], (table, total)


def start(seed: int, examples: int = 2):
    return 2 * jax.random.normal(jax.random.key(seed), (examples, T, V, V)), jnp.zeros(examples)


def log_prob(table: np.ndarray, sequence: tuple[int, ...]) -> float:
    """By hand, of one example."""
    total, last, log = 0.0, BEGIN, 0.0
    for position, token in enumerate(sequence):
        total += last
        logits = np.asarray(table)[position, last] + np.sin(total) * np.arange(V)
        log += logits[token] - np.log(np.exp(logits).sum())
        last = token
    return log


def every_sequence() -> list[tuple[int, ...]]:
    others = [token for token in range(V) if token != END]
    ended = [(*y, END) for n in range(T) for y in itertools.product(others, repeat=n)]
    return ended + list(itertools.product(others, repeat=T))


@pytest.fixture(scope="module")
def search():
    @jax.jit
    def wide(cache, length_penalty):
        return beam_search(Decoder(step, cache), beam=40, length=T, begin=BEGIN, end=END, length_penalty=length_penalty)

    return wide


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), length_penalty=st.floats(0.0, 2.0))
def test_with_room_for_every_sequence_it_is_exact(search, seed, length_penalty):
    cache = start(seed)
    tokens, scores, log_probs = search(cache, length_penalty)
    for i in range(2):
        found = {y: log_prob(cache[0][i], y) for y in every_sequence()}
        best = max(found, key=lambda y: found[y] / ((5 + len(y)) / 6) ** length_penalty)
        assert tokens[i, 0].tolist() == [*best, *[0] * (T - len(best))]
        np.testing.assert_allclose(log_probs[i, 0], found[best], rtol=1e-4)
        np.testing.assert_allclose(scores[i, 0], found[best] / ((5 + len(best)) / 6) ** length_penalty, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed):
    cache = start(seed)
    tokens, _, log_probs = beam_search(Decoder(step, cache), beam=1, length=T, begin=BEGIN, end=END, length_penalty=1.0)
    for i in range(2):
        greedy: list[int] = []
        while len(greedy) < T and END not in greedy:
            nexts = [log_prob(cache[0][i], (*greedy, token)) for token in range(V)]
            greedy.append(int(np.argmax(nexts)))
        assert tokens[i, 0].tolist() == greedy + [0] * (T - len(greedy))
        np.testing.assert_allclose(log_probs[i, 0], log_prob(cache[0][i], tuple(greedy)), rtol=1e-4)


def test_all_that_is_kept_differs_and_is_in_order():
    tokens, scores, _ = beam_search(Decoder(step, start(3)), beam=6, length=T, begin=BEGIN, end=END, length_penalty=0.6)
    for i in range(2):
        assert len({tuple(row) for row in tokens[i].tolist()}) == 6
        assert (np.diff(scores[i]) <= 0).all()


def test_what_cannot_be_there_scores_nothing():
    """A beam wider than the number of sequences of one token."""
    _, scores, _ = beam_search(Decoder(step, start(0)), beam=6, length=1, begin=BEGIN, end=END)
    assert np.isfinite(scores).sum(axis=1).tolist() == [V, V]


def test_a_length_penalty_prefers_longer_ones():
    """The same probabilities: 0.5 for ending now, 0.5 x 0.9 x 0.9 for going on twice."""
    table = jnp.log(jnp.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.5, 0.5], [1.0, 0, 0, 0], [0.0, 0.0, 0.1, 0.9]]))

    def chain(tokens, cache, position):
        return table[tokens], cache

    def best(length_penalty):
        decoder = Decoder(chain, jnp.zeros(1))
        tokens, _, _ = beam_search(decoder, beam=3, length=4, begin=BEGIN, end=END, length_penalty=length_penalty)
        return tokens[0, 0].tolist()

    assert best(0.0) == [2, 0, 0, 0]
    assert best(2.0) == [3, 3, 3, 3]


def test_it_stops_when_nothing_can_become_better():
    """A step beyond the need would be at a position that gives NaN."""
    table = jnp.log(jnp.array([0.02, 0.02, 0.95, 0.01]))

    def ends(tokens, cache, position):
        return jnp.where(position < 2, jnp.broadcast_to(table[None, None], (len(tokens), 1, V)), jnp.nan), cache

    tokens, scores, _ = beam_search(
        Decoder(ends, jnp.zeros(1)), beam=2, length=50, begin=BEGIN, end=END, length_penalty=0.0
    )
    assert tokens[0, 0, :3].tolist() == [2, 0, 0]
    np.testing.assert_allclose(scores[0, 0], np.log(0.95), rtol=1e-5)
