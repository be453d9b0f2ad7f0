"""Objectives of retrieval: equal to the whole softmax where they see all of it, and in expectation where they don't."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.tasks import BinaryCrossEntropy, InBatchSoftmax, SampledSoftmax, Softmax
from deeplab.tasks.objectives import draw

V = 6  # with item 0, which is none


def batch(targets, ids=(0, 1, 2), weight=None):
    targets = jnp.array(targets)
    return {
        "targets": targets,
        "id": jnp.array(ids[: len(targets)]),
        "weight": jnp.ones(len(targets)) if weight is None else jnp.array(weight),
        "seen": jnp.zeros((len(targets), V), bool).at[:, 0].set(True),
        "count": jnp.tile(jnp.array([0, 7, 3, 0, 1, 5])[None], (len(targets), 1)),
    }


def scores(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape) * 2


def losses(objective, all_scores, given, items):
    """Of scores [B, P, V], when the negatives are `items`, [C] or [B, C]."""
    own = jnp.take_along_axis(all_scores, given["targets"][..., None], axis=-1)[..., 0]
    if items.ndim == 1:
        other = all_scores[..., items]
    else:
        other = jnp.take_along_axis(all_scores, jnp.broadcast_to(items[:, None], (*own.shape, items.shape[1])), axis=-1)
    return objective.losses(own, other, items, given)


def whole(all_scores, given):
    """Cross-entropy over the items 1 to V - 1, by definition."""
    p = np.exp(np.asarray(all_scores, np.float64)[..., 1:])
    own = np.take_along_axis(p, np.asarray(given["targets"])[..., None] - 1, axis=-1)[..., 0]
    return -np.log(own / p.sum(-1))


def test_softmax_is_cross_entropy():
    given, all_scores = batch([[1, 5], [2, 2]]), scores(0, 2, 2, V)
    items = Softmax().negatives(given, jax.random.key(0))
    np.testing.assert_allclose(losses(Softmax(), all_scores, given, items), whole(all_scores, given), rtol=1e-5)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_expected_sum_of_a_sampled_softmax_is_the_whole_one(power):
    """By all draws of two items, each with its probability."""
    given, all_scores, objective = batch([[4]]), scores(1, 1, 1, V), SampledSoftmax(2, power)
    weight = np.array([0.0, *(1.0 + np.array([7, 3, 0, 1, 5])) ** power])
    q = weight / weight.sum()
    own, total = float(all_scores[0, 0, 4]), 0.0
    for i in range(1, V):
        for j in range(1, V):
            loss = losses(objective, all_scores, given, jnp.array([[i, j]]))[0, 0]
            total += q[i] * q[j] * np.exp(float(loss) + own)  # exp(loss) = sum / exp(own)
    assert total == pytest.approx(np.exp(np.asarray(all_scores)[0, 0, 1:]).sum(), rel=1e-5)


def test_a_sampled_softmax_of_every_item_once_is_the_whole_one():
    given, all_scores = batch([[1, 5], [2, 2]]), scores(2, 2, 2, V)
    items = jnp.tile(jnp.arange(1, V)[None], (2, 1))
    sampled = losses(SampledSoftmax(V - 1), all_scores, given, items)
    np.testing.assert_allclose(sampled, whole(all_scores, given), rtol=1e-5)


def test_in_batch_softmax_is_its_definition():
    """Two examples of two places; one target is padding, two are the same item."""
    given = batch([[1, 5], [2, 1]], weight=[1.0, 1.0])
    given["targets"] = given["targets"].at[0, 1].set(0)
    all_scores = scores(3, 2, 2, V)
    items = InBatchSoftmax().negatives(given, jax.random.key(0))
    assert items.tolist() == [1, 0, 2, 1]
    ours = losses(InBatchSoftmax(), all_scores, given, items)
    share = np.array([0, 7, 3, 0, 1, 5]) / 16
    corrected = np.asarray(all_scores)[..., 1:3] - np.log(share[1:3])  # the batch's items are 1 and 2
    p = np.exp(corrected)
    expected = {(0, 0): p[0, 0, 0] / (p[0, 0, 0] + p[0, 0, 1])}
    expected[1, 0] = p[1, 0, 1] / (p[1, 0, 1] + 2 * p[1, 0, 0])
    expected[1, 1] = p[1, 1, 0] / (p[1, 1, 0] + p[1, 1, 1])
    for place, value in expected.items():
        assert float(ours[place]) == pytest.approx(-np.log(value), rel=1e-5, abs=1e-6)


def test_padded_examples_are_nobodys_negatives():
    all_scores = scores(4, 3, 1, V)
    two = losses(InBatchSoftmax(), all_scores[:2], batch([[1], [2]]), jnp.array([1, 2]))
    three = losses(InBatchSoftmax(), all_scores, batch([[1], [2], [5]], weight=[1.0, 1.0, 0.0]), jnp.array([1, 2, 5]))
    np.testing.assert_allclose(three[:2], two, rtol=1e-6)


def test_popularity_is_what_the_correction_takes_out():
    """With scores that are log frequencies, a corrected softmax finds all of the batch's items equally likely."""
    given = batch([[1], [2], [5]])
    popular = jnp.tile(jnp.log(given["count"].astype(jnp.float32))[:1, None], (3, 1, 1))
    flat = losses(InBatchSoftmax(), popular, given, jnp.array([1, 2, 5]))
    np.testing.assert_allclose(flat, np.log(3.0), rtol=1e-5)
    plain = losses(InBatchSoftmax(correction=0.0), popular, given, jnp.array([1, 2, 5]))
    np.testing.assert_allclose(plain[:, 0], -np.log(np.array([7, 3, 5]) / 15), rtol=1e-5)


def test_binary_cross_entropy_counts_what_was_not_seen():
    given, all_scores = batch([[1]]), scores(5, 1, 1, V)
    given["seen"] = given["seen"].at[0, 3].set(True)
    ours = losses(BinaryCrossEntropy(4, ratio=2.0), all_scores, given, jnp.array([[3, 1, 2, 4]]))
    s = np.asarray(all_scores, np.float64)[0, 0]
    expected = np.log1p(np.exp(-s[1])) + 2.0 * np.mean([np.log1p(np.exp(s[i])) for i in (2, 4)])
    assert float(ours[0, 0]) == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_draws_belong_to_the_example(seed):
    proposal, key = jnp.array([0.0, 1.0, 0.0, 3.0]), jax.random.key(seed)
    both = draw(proposal, jnp.array([8, 3]), 64, key)
    np.testing.assert_array_equal(both[1:], draw(proposal, jnp.array([3]), 64, key))
    assert set(np.unique(both)) <= {1, 3}


def test_draws_have_the_frequencies_of_the_proposal():
    items = draw(jnp.array([0.0, 1.0, 0.0, 3.0]), jnp.arange(8), 500, jax.random.key(0))
    assert float((items == 3).mean()) == pytest.approx(0.75, abs=0.03)
