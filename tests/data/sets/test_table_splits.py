"""Splits of a table: folds, classes, groups and times."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.data.sets.tabular import splitting

SHARES = st.sampled_from([{"test": 0.2}, {"test": 0.25, "validation": 0.25}, {"test": 0.5}])
CLASSES = st.lists(st.integers(0, 3), min_size=12, max_size=60).map(np.array)


@settings(max_examples=60, deadline=None)
@given(CLASSES, SHARES, st.integers(0, 5))
def test_folds_hold_each_row_once_and_each_class_alike(strata, shares, seed):
    folds = [splitting.by_chance(strata, shares, fold, seed) for fold in range(round(1 / shares["test"]))]
    assert (sum((fold == 1).astype(int) for fold in folds) == 1).all()
    for fold in folds:
        for number, share in enumerate(shares.values(), start=1):
            assert abs(np.sum(fold == number) - share * len(strata)) < 1.5
            for kind in np.unique(strata):
                size = np.sum(strata == kind)
                assert abs(np.sum((fold == number) & (strata == kind)) - share * size) < 2
    np.testing.assert_array_equal(folds[0], splitting.by_chance(strata, shares, 0, seed))


@settings(max_examples=60, deadline=None)
@given(CLASSES, SHARES, st.integers(0, 5))
def test_no_group_and_no_time_is_in_two_splits(values, shares, seed):
    for part in (splitting.by_group(values, shares, 0, seed), splitting.by_time(values, shares)):
        assert len(set(zip(values.tolist(), part.tolist(), strict=True))) == len(set(values.tolist()))
    order = {0: 0, 2: 1, 1: 2}  # training, validation, test
    ranked = [order[number] for number in part[np.argsort(values, kind="stable")].tolist()]
    assert ranked == sorted(ranked)
