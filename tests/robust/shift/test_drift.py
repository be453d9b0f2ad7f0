"""Two-sample tests: their definitions, 5 % of errors under one law, and power that grows with the shift."""

import functools

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from deeplab.core.errors import UserError
from deeplab.robust import shift

TESTS = {
    "mmd": functools.partial(shift.mmd, permutations=59),
    "c2st": functools.partial(shift.c2st, permutations=59),
}


def test_mmd_is_its_definition():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(1, 1, (5, 3))
    both = np.concatenate([x, y])
    distance = np.linalg.norm(both[:, None] - both[None], axis=2)
    scale = np.median(distance[np.triu_indices(12, 1)] ** 2)
    kernel = np.mean([np.exp(-(distance**2) / (2 * b**2 * scale)) for b in (0.5, 2.0)], axis=0)

    def value(first):
        second = np.setdiff1d(np.arange(12), first)
        xx, yy = (kernel[np.ix_(i, i)] for i in (first, second))
        xx, yy = ((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy))
        return xx + yy - 2 * kernel[np.ix_(first, second)].mean()

    found = shift.mmd(x, y, (0.5, 2.0), permutations=2000)
    assert found.statistic == pytest.approx(value(np.arange(7)), abs=1e-12)
    exact = [value(np.random.default_rng(i).permutation(12)[:7]) for i in range(2000)]
    assert found.p == pytest.approx(np.mean(np.array(exact) >= found.statistic), abs=0.02)


def test_a_classifier_that_tells_nothing_apart_is_right_half_of_the_times():
    """Of constant features its odds are 1, which is no mistake of both sets."""
    assert shift.c2st(np.zeros((20, 2)), np.zeros((20, 2)), permutations=19) == (0.5, 1.0)


@pytest.mark.parametrize("name", TESTS)
def test_five_percent_of_tests_under_one_law_reject(name):
    rng, rejected = np.random.default_rng(0), 0
    for i in range(200):
        x, y = rng.standard_t(3, size=(30, 3)), rng.standard_t(3, size=(22, 3))
        rejected += TESTS[name](x, y, seed=i).p <= 0.05
    low, high = binom.ppf([0.005, 0.995], 200, 0.05)
    assert low <= rejected <= high


@pytest.mark.parametrize("name", TESTS)
def test_power_grows_with_the_shift_and_the_size(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    found = [shift.power(TESTS[name], x, rng.normal(by, 1, (400, 2)), 40, draws=40) for by in (0.0, 0.4, 0.9)]
    assert found[0] < 0.2
    assert found == sorted(found)
    assert found[-1] > 0.9
    assert shift.power(TESTS[name], x, x + 0.9, 8, draws=40) < found[-1]


def test_a_kernel_sees_a_change_of_spread_and_a_line_does_not():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 2)), rng.normal(0, 2.5, (150, 2))
    assert shift.mmd(x, y).p == 0.005
    assert shift.c2st(x, y).p > 0.05

    def squares(features, second):
        odds = shift.logistic()(features**2, second)
        return lambda new: odds(new**2)

    found = shift.c2st(x, y, squares)
    assert found.p == 0.005
    assert 0.65 < found.statistic < 0.95


def test_logistic_is_scikit_learns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) * np.array([1, 5, 0.2]) + 3
    y = (rng.random(200) < 1 / (1 + np.exp(-(x[:, 0] - 3)))).astype(float)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = LogisticRegression(C=1 / (2 * 200 * 0.01), tol=1e-12, solver="newton-cholesky").fit(scaled, y)
    np.testing.assert_allclose(shift.logistic(0.01)(x, y)(x), theirs.decision_function(scaled), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: shift.mmd(np.zeros((1, 2)), np.zeros((5, 2))), "2 or more of each"),
        (lambda: shift.mmd(np.zeros((5, 2)), np.zeros((5, 3))), r"sets of \[5, 2\] and \[5, 3\]"),
        (lambda: shift.mmd(np.full((5, 2), np.nan), np.zeros((5, 2))), "NaN or infinite"),
        (lambda: shift.c2st(np.zeros((3, 2)), np.zeros((5, 2))), "4 or more, of which half train"),
        (lambda: shift.power(shift.mmd, np.zeros((5, 2)), np.zeros((9, 2)), 6), "give size=5"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(UserError, match=told):
        call()


def test_equal_points_are_no_drift():
    assert shift.mmd(np.ones((5, 2)), np.ones((5, 2))).p == 1.0
