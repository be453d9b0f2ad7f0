"""The order of examples: a bijection of its own for every epoch, and one stream however it is asked for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.data import order

SIZES = st.one_of(st.integers(1, 70), st.sampled_from([2**8, 2**8 + 1, 2**10 - 1, 1437, 5000]))


@settings(deadline=None)
@given(size=SIZES, seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_each_epoch_is_a_permutation(size, seed, epoch):
    examples = order.permute(np.arange(size), size, seed, epoch)
    np.testing.assert_array_equal(np.sort(examples), np.arange(size))


@settings(deadline=None)
@given(
    size=SIZES, seed=st.integers(0, 99), start=st.integers(0, 3000), count=st.integers(1, 300), cut=st.integers(0, 300)
)
def test_the_stream_is_the_same_in_parts(size, seed, start, count, cut):
    cut = min(cut, count)
    whole = order.stream(start, count, size, seed)
    parts = [order.stream(start, cut, size, seed), order.stream(start + cut, count - cut, size, seed)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 200), seed=st.integers(0, 99), epochs=st.integers(1, 4))
def test_the_stream_visits_each_example_once_an_epoch(size, seed, epochs):
    stream = order.stream(0, size * epochs, size, seed).reshape(epochs, size)
    np.testing.assert_array_equal(np.sort(stream, axis=1), np.tile(np.arange(size), (epochs, 1)))


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = {tuple(order.permute(np.arange(50), 50, seed, epoch)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_places_are_spread_evenly():
    # The first of 10 places takes each example equally often over 2,000 epochs: chi-square with 9 degrees of freedom.
    first = np.concatenate([order.permute(np.arange(1), 10, 0, epoch) for epoch in range(2000)])
    assert np.sum((np.bincount(first, minlength=10) - 200) ** 2 / 200) < 30  # 99.96th percentile


def test_large_sets_need_no_memory():
    size = 2**32
    examples = order.permute(np.array([0, 1, size - 1]), size, 0, 0)
    assert len(set(examples.tolist())) == 3
    assert examples.max() < size
