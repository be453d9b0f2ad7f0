"""Ranks and what follows from them: against scikit-learn, and counted by hand where scores are equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from deeplab.metrics import ranks

V = 9
rank, auc = jax.jit(ranks.rank), jax.jit(ranks.auc)


@st.composite
def lists(draw, ties: bool):
    """Scores, a target, and which items are offered (the target may be one of them, or not), at least one other."""
    values = st.lists(st.integers(0, 3), min_size=V, max_size=V) if ties else st.permutations(range(V))
    scores, target = np.array(draw(values), np.float32), draw(st.integers(0, V - 1))
    offered = np.array(draw(st.lists(st.booleans(), min_size=V, max_size=V)))
    offered[(target + 1) % V] = True
    return scores, target, offered


def on_device(function, scores, target, offered):
    return np.asarray(function(jnp.array(scores)[None], jnp.array([target]), jnp.array(offered)[None]))[0]


@given(lists(ties=True))
@settings(max_examples=40, deadline=None)
def test_rank_counts_what_stands_before(case):
    scores, target, offered = case
    before = sum(1 for i in range(V) if offered[i] and i != target and scores[i] >= scores[target])
    assert on_device(rank, *case) == 1 + before


@given(lists(ties=True))
@settings(max_examples=40, deadline=None)
def test_auc_is_scikit_learns(case):
    scores, target, offered = case
    listed = offered | (np.arange(V) == target)
    expected = roc_auc_score(np.arange(V)[listed] == target, scores[listed])
    assert on_device(auc, *case) == pytest.approx(expected)


@given(lists(ties=False), st.integers(1, V))
@settings(max_examples=40, deadline=None)
def test_ndcg_is_scikit_learns(case, cutoff):
    scores, target, offered = case
    listed = offered | (np.arange(V) == target)
    relevant = (np.arange(V)[listed] == target)[None].astype(float)
    ours = ranks.ndcg(jnp.array([on_device(rank, *case)]), cutoff)[0]
    assert float(ours) == pytest.approx(ndcg_score(relevant, scores[listed][None], k=cutoff), abs=1e-6)


@given(st.integers(1, 50), st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_hits_and_reciprocals(rank, cutoff):
    assert float(ranks.hit_rate(jnp.array([rank]), cutoff)[0]) == (rank <= cutoff)
    assert float(ranks.reciprocal(jnp.array([rank]))[0]) == pytest.approx(1 / rank)


def test_who_scores_all_alike_finds_nothing():
    scores, target, offered = jnp.zeros((1, V)), jnp.array([4]), jnp.ones((1, V), bool)
    assert rank(scores, target, offered).tolist() == [V]
    assert auc(scores, target, offered).tolist() == [0.5]
