"""Metrics and gaps by group, their intervals, and thresholds that make the rates equal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from sklearn.metrics import accuracy_score, confusion_matrix

from deeplab.core.errors import UserError
from deeplab.robust import fairness
from deeplab.robust.resampling import interval_of, resampled


def _drawn(seed=0, size=1200, names=("a", "b", "c")):
    """Groups of unlike sizes and base rates, of which one is harder to score."""
    rng = np.random.default_rng(seed)
    sizes = np.arange(len(names), 0, -1)
    at = rng.choice(len(names), size, p=sizes / sizes.sum())
    y = rng.random(size) < np.linspace(0.3, 0.6, len(names))[at]
    score = y * np.linspace(2.0, 0.8, len(names))[at] + rng.normal(size=size)
    return score, y, np.array(names)[at]


def test_metrics_are_scikit_learns():
    score, y, group = _drawn()
    decided = score > 1
    found = fairness.group_metrics(y, decided, group)
    for g, name in enumerate(found.groups):
        rows = group == name
        (tn, fp), (fn, tp) = confusion_matrix(y[rows], decided[rows])
        assert found.count[g] == rows.sum()
        assert found.accuracy[g] == pytest.approx(accuracy_score(y[rows], decided[rows]))
        assert found.positive_rate[g] == pytest.approx((tp + fp) / rows.sum())
        assert found.true_positive_rate[g] == pytest.approx(tp / (tp + fn))
        assert found.false_positive_rate[g] == pytest.approx(fp / (fp + tn))
    assert fairness.demographic_parity(decided, group) == pytest.approx(np.ptp(found.positive_rate))
    odds = max(np.ptp(found.true_positive_rate), np.ptp(found.false_positive_rate))
    assert fairness.equalized_odds(y, decided, group) == pytest.approx(odds)


def test_a_group_without_positives_has_no_rate():
    found = fairness.group_metrics(np.array([0, 1, 0]), np.array([1, 1, 0]), np.array([5, 5, 9]))
    assert np.isnan(found.true_positive_rate[1])
    assert found.false_positive_rate.tolist() == [1.0, 0.0]


def test_intervals_hold_the_gap():
    """Of parity, whose true gap is 0.2, in 60 data sets."""
    rng, held = np.random.default_rng(0), 0
    for seed in range(60):
        group, y = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
        decided = rng.random(400) < 0.3 + 0.2 * group
        found = fairness.gaps(y, decided, group, resamples=60, seed=seed)
        held += found["demographic_parity"].low <= 0.2 <= found["demographic_parity"].high
        assert set(found) == {"accuracy", "demographic_parity", "equalized_odds"}
    assert held >= 51


@pytest.mark.parametrize("kind", ["alone", "within", "between"])
def test_gaps_of_noise_start_at_zero(kind):
    """Of 12 groups of some 25 examples that are treated alike; also where clusters are in several groups, or in one."""
    rng, zero = np.random.default_rng(0), 0
    for seed in range(30):
        cluster = np.arange(300) // 5
        group = cluster % 12 if kind == "between" else rng.integers(0, 12, 300)
        y, decided = rng.integers(0, 2, 300), rng.integers(0, 2, 300)
        if kind != "alone":
            decided = rng.integers(0, 2, 60)[cluster]
        found = fairness.gaps(y, decided, group, None if kind == "alone" else cluster, resamples=60, seed=seed)
        assert found["demographic_parity"].value > 0.15
        zero += found["demographic_parity"].low == 0
    assert zero >= 27


def test_clusters_make_intervals_wider():
    """Forty patients, all of whose beats are decided alike."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 25)
    group, decided = (patient % 2), (rng.random(40) < 0.5)[patient]
    y = rng.integers(0, 2, 1000)
    wide, narrow = (fairness.gaps(y, decided, group, c)["demographic_parity"] for c in (patient, None))
    assert wide.high - wide.value > 2 * (narrow.high - narrow.value)
    draws = resampled(lambda d, g: fairness.demographic_parity(d, g), [decided, group], patient)
    assert wide.high == interval_of(wide.value, draws, "basic").high  # the same seed


def test_calibration_is_within_groups():
    rng = np.random.default_rng(0)
    group, p = rng.integers(0, 2, 20_000), rng.random(20_000)
    y = rng.random(20_000) < np.where(group == 0, p, 0.5 + (p - 0.5) / 2)  # the second group is half as sure
    found = fairness.calibration_within(y, p, group)
    assert abs(found["0"]) < 0.01
    assert found["1"] == pytest.approx(0.125, abs=0.01)  # the mean of |p - 1 / 2| / 2


def _rates(found, score, y, group):
    p = found.probability(score, group)
    kinds = (y, ~y, np.ones(len(y), bool))
    return np.array([[p[(group == g) & kind].mean() for g in found.groups] for kind in kinds])


@given(st.integers(0, 2**31), st.sampled_from(["odds", "opportunity", "parity"]), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_the_rates_are_equal_and_as_told(seed, constraint, groups):
    score, y, group = _drawn(seed, 300, tuple(range(groups)))
    score = np.round(score, 1)  # with ties
    found = fairness.equalizing_thresholds(score, y, group, constraint)
    true, false, positive = _rates(found, score, y, group)
    np.testing.assert_allclose(true, found.true_positive_rate, atol=1e-9)
    np.testing.assert_allclose(false, found.false_positive_rate, atol=1e-9)
    for rate in {"odds": (true, false), "opportunity": (true,), "parity": (positive,)}[constraint]:
        np.testing.assert_allclose(rate, rate[0], atol=1e-9)


@pytest.mark.parametrize("constraint", ["odds", "opportunity", "parity"])
@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
@pytest.mark.parametrize("cost", [(1.0, 1.0), (1.0, 30.0), (30.0, 1.0)])
def test_the_rates_are_as_told_of_infinite_scores(constraint, infinite, cost):
    """Which are ties, and reach a threshold of infinity."""
    score, y, group = _drawn(0, 300)
    score = np.where(np.arange(300) % 3 == 0, infinite, score)
    found = fairness.equalizing_thresholds(score, y, group, constraint, *cost)
    true, false, _ = _rates(found, score, y, group)
    np.testing.assert_allclose(true, found.true_positive_rate, atol=1e-9)
    np.testing.assert_allclose(false, found.false_positive_rate, atol=1e-9)


def test_a_score_that_is_nan_has_no_probability():
    found = fairness.equalizing_thresholds(*_drawn(0, 300))
    assert np.isnan(found.probability(np.array([np.nan, 0.5]), np.array(["a", "a"]))).tolist() == [True, False]


@pytest.mark.parametrize("constraint", ["odds", "opportunity", "parity"])
@pytest.mark.parametrize("cost", [(1.0, 1.0), (1.0, 3.0)])
def test_the_cost_is_that_of_the_linear_program(constraint, cost):
    """All mixtures of thresholds and constants, by group, under equal rates: what no other decision undercuts."""
    score, y, group = _drawn(3, 150)
    score = np.round(score, 1)
    found = fairness.equalizing_thresholds(score, y, group, constraint, *cost)
    names, base = found.groups, np.array([y[group == g].mean() for g in found.groups])
    share = np.array([(group == g).mean() for g in names])

    def total(false, true):
        return np.sum(share * (cost[0] * (1 - base) * false + cost[1] * base * (1 - true)))

    at = np.append(np.unique(score), np.inf)
    corners = [[(c[~y[group == g]].mean(), c[y[group == g]].mean()) for c in (score[group == g] >= t for t in at)]
               for g in names]  # fmt: skip
    false, true = np.array(corners).transpose(2, 0, 1)  # [G, thresholds]
    G, T = false.shape
    weights = (share[:, None] * (cost[0] * (1 - base)[:, None] * false - cost[1] * base[:, None] * true)).ravel()
    kinds = {"odds": [false, true], "opportunity": [true]}
    kinds["parity"] = [base[:, None] * true + (1 - base)[:, None] * false]
    equal, right = [np.kron(np.eye(G), np.ones(T))], [np.ones(G)]
    for kind in kinds[constraint]:
        rows = np.zeros((G - 1, G, T))
        for g in range(1, G):
            rows[g - 1, 0], rows[g - 1, g] = kind[0], -kind[g]
        equal.append(rows.reshape(G - 1, G * T))
        right.append(np.zeros(G - 1))
    best = linprog(weights, A_eq=np.concatenate(equal), b_eq=np.concatenate(right))
    least = best.fun + np.sum(share * cost[1] * base)
    assert least - 1e-9 < total(found.false_positive_rate, found.true_positive_rate) < least + 2e-3


def test_new_examples_are_treated_alike():
    found = fairness.equalizing_thresholds(*_drawn(0, 6000))
    score, y, group = _drawn(1, 6000)
    decided = np.random.default_rng(2).random(6000) < found.probability(score, group)
    assert fairness.equalized_odds(y, score > 1, group) > 0.2
    assert fairness.equalized_odds(y, decided, group) < 0.06


Y, GROUP = np.array([0, 1, 1]), np.array(["a", "a", "b"])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: fairness.equalizing_thresholds(np.array([np.nan, 1, 2, 3]), np.array([0, 1] * 2), np.zeros(4)),
            "1 of 4 scores are NaN",
        ),
        (
            lambda: fairness.equalizing_thresholds(np.arange(4.0), np.array([0, 1, 2, 0]), np.zeros(4)),
            "label holds 2, expected 0 and 1",
        ),
        (lambda: fairness.calibration_within(np.array([0, 1]), np.array([-3.0, 4]), np.zeros(2)), "expected 0 to 1"),
        (lambda: fairness.calibration_within(Y, np.zeros(4), GROUP), r"label \[3\], probability \[4\]; expected \[N\]"),
        (lambda: fairness.gaps(Y, Y, GROUP, resamples=0), "resamples is 0, expected 1 or more"),
        (lambda: fairness.gaps(Y, Y, GROUP, level=1.5), "level is 1.5, expected above 0 and below 1"),
        (lambda: fairness.equalized_odds(Y, Y, GROUP), "group b has no negatives, and no rate of them"),
        (lambda: fairness.gaps(Y, Y, GROUP), "group b has no negatives"),
        (lambda: fairness.gaps(Y, Y, np.zeros(len(Y))), r"all examples are of the group 0\.0, and a gap is between"),
        (lambda: fairness.demographic_parity(Y, np.zeros(len(Y))), "give two or more"),
        (lambda: fairness.group_metrics(2 * Y, Y, GROUP), "label holds 2, expected 0 and 1; pass label == k"),
        (lambda: fairness.group_metrics(Y, Y[:2], GROUP), r"expected \[N\] of each"),
        (lambda: fairness.group_metrics(Y[:0], Y[:0], GROUP[:0]), r"expected \[N\] of each"),
        (lambda: fairness.equalizing_thresholds(Y * 1.0, Y, GROUP), "group b has no negatives; merge it"),
        (
            lambda: fairness.equalizing_thresholds(Y[:2] * 1.0, Y[:2], GROUP[:2]).probability(Y * 1.0, GROUP),
            "group b has no thresholds; known are a",
        ),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(UserError, match=told):
        call()
