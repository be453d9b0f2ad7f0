"""Intervals over seeds and folds are those of SciPy, and of the paper that corrects them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from deeplab.report.sweeps import sentences
from deeplab.report.sweeps.intervals import Interval, interval, paired

VALUES = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(VALUES)
def test_an_interval_over_seeds_is_student_s(values):
    found, error = interval(values), stats.sem(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.error == pytest.approx(error)
    half = stats.t.ppf(0.975, len(values) - 1) * error
    assert (found.low, found.high) == (pytest.approx(np.mean(values) - half), pytest.approx(np.mean(values) + half))
    if error > 1e-6:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@given(VALUES, st.floats(0, 1))
def test_a_difference_is_tested_as_scipy_does(first, shift):
    """The interval leaves out 0 exactly where the paired t-test is below 5 %."""
    rng = np.random.default_rng(len(first))
    second = [x + shift + 0.5 * y for x, y in zip(first, rng.normal(size=len(first)), strict=True)]
    keys = [f"seed {i}" for i in range(len(first))]
    found = paired(dict(zip(keys, first, strict=True)), dict(zip(keys, second, strict=True)))
    theirs = stats.ttest_rel(second, first)
    assert found.tells == (theirs.pvalue < 0.05)
    low, high = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


@given(VALUES, st.integers(2, 10))
def test_the_error_of_folds_has_the_correction_of_nadeau_and_bengio(values, folds):
    """Variance times (1/J + n2/n1), where n2/n1 = 1/(K - 1) in K folds: their equation 9."""
    corrected = math.sqrt((1 / len(values) + 1 / (folds - 1)) * np.var(values, ddof=1))
    assert interval(values, overlap=1 / (folds - 1)).error == pytest.approx(corrected)


def test_an_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 4))
    covered = np.mean([found.low <= 3.0 <= found.high for found in map(interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_where_there_is_no_spread_there_is_no_interval():
    assert interval([0.5]) == Interval(0.5, None, None, None, 1)
    found = interval([0.5, math.nan, 0.7])
    assert (math.isnan(found.mean), found.low, found.error, found.n) == (True, None, None, 3)
    assert not found.tells


def test_only_what_both_have_is_paired():
    assert paired({"a": 1.0, "b": 2.0}, {"b": 5.0, "c": 9.0}) == Interval(3.0, None, None, None, 1)


@pytest.mark.parametrize(
    ("found", "unit", "smaller", "said"),
    [
        (Interval(0.5, 0.1, 0.3, 0.7, 5), "seed", False, "new is better"),
        (Interval(0.5, 0.1, 0.3, 0.7, 5), "seed", True, "old is better"),
        (Interval(-0.5, 0.1, -0.7, -0.3, 3), "seed", True, "give 5 or more before a claim"),
        (Interval(0.5, 0.3, -0.3, 1.3, 4), "seed", False, "4 seeds do not tell which is better"),
        (Interval(0.5, 0.1, 0.3, 0.7, 5), "fold", False, "correction of Nadeau and Bengio"),
        (Interval(0.5, 0.1, 0.3, 0.7, 2), "fold", False, "So few folds are little to judge the spread by"),
        (Interval(0.5, None, None, None, 1), "seed", False, "One seed has no spread"),
        (Interval(math.nan, None, None, None, 3), "seed", False, "a run diverged"),
    ],
)
def test_a_difference_is_told_with_what_to_bear_in_mind(found, unit, smaller, said):
    assert said in sentences.compared("old", "new", "score", found, unit, smaller)
