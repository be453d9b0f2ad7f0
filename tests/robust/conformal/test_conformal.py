"""Coverage of conformal sets and intervals: its law over calibrations, its bounds, and what bad input is told."""

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, kstest

from deeplab.core.errors import UserError
from deeplab.robust import calibration, conformal

CALIBRATIONS, SIZE, ALPHA, K = 1000, 99, 0.15, 5


def _draw(rng, size):
    """Labels of a model that is wrong about them: its probabilities, and the labels of sharper ones."""
    logits = rng.normal(0, 1.5, (size, K))
    true = calibration.softmax(1.5 * logits + np.arange(K) / 4)
    label = (true.cumsum(axis=1) < rng.random((size, 1))).sum(axis=1).clip(max=K - 1)
    return calibration.softmax(logits), label


def _class_scores(score):
    def of(rng, size):
        p, label = _draw(rng, size)
        return conformal.true_scores(score(p, rng.random(size)), label)

    return of


def _cqr(rng, size):
    x = rng.uniform(0, 2, size)
    y = x * rng.normal(size=size)
    return conformal.cqr_scores(-x, 1.2 * x + 0.1, y)


def _residuals(rng, size):
    return np.abs(rng.normal(size=size) - 0.5)


LAWS = {
    "lac": _class_scores(lambda p, u: conformal.lac(p)),
    "aps": _class_scores(conformal.aps),
    "raps": _class_scores(lambda p, u: conformal.raps(p, u, 0.1, 1)),
    "cqr": _cqr,
    "residuals": _residuals,
}


@pytest.mark.parametrize("name", LAWS)
def test_the_coverage_over_calibrations_has_its_beta_law(name):
    rng = np.random.default_rng(0)
    drawn = LAWS[name](rng, CALIBRATIONS * SIZE).reshape(CALIBRATIONS, SIZE)
    new = np.sort(LAWS[name](rng, 200_000))
    at = [conformal.threshold(scores, ALPHA) for scores in drawn]
    covered = np.searchsorted(new, at, side="right") / len(new)
    law = beta(*conformal.coverage_law(SIZE, ALPHA))
    assert kstest(covered, law.cdf).pvalue > 0.01
    assert kstest(covered, beta(*conformal.coverage_law(SIZE, ALPHA + 0.01)).cdf).pvalue < 0.01


@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(0, 3), st.sampled_from([0.0, 0.3]))
@settings(max_examples=30, deadline=None)
def test_scores_are_their_definition(seed, classes, free, penalty):
    rng = np.random.default_rng(seed)
    p, u = rng.dirichlet(np.ones(classes), 3), rng.random(3)
    found, plain = conformal.raps(p, u, penalty, free), conformal.aps(p, u)
    for n in range(3):
        for k in range(classes):
            above = p[n] > p[n, k]
            expected = p[n, above].sum() + u[n] * p[n, k]
            assert plain[n, k] == pytest.approx(expected)
            assert found[n, k] == pytest.approx(expected + penalty * max(0, above.sum() + 1 - free))


def test_sets_hold_the_label_where_its_score_is_at_most_the_threshold():
    rng = np.random.default_rng(0)
    p, label = _draw(rng, 2000)
    scores = conformal.aps(p, rng.random(2000))
    sets = scores[1000:] <= conformal.threshold(conformal.true_scores(scores[:1000], label[:1000]), 0.1)
    found = conformal.set_coverage(sets, label[1000:])
    assert found.coverage[0] == pytest.approx(0.9, abs=0.03)
    assert found.size[0] == pytest.approx(sets.sum(axis=1).mean())
    likeliest = np.take_along_axis(sets, np.argsort(-p[1000:], axis=1), axis=1).astype(int)
    assert (np.diff(likeliest, axis=1) <= 0).all()  # no class without the likelier ones


def test_groups_and_classes_are_covered_each():
    """Where one threshold covers the easy and misses the hard."""
    rng = np.random.default_rng(0)
    p, label = _draw(rng, 20_000)
    group = rng.integers(0, 3, 20_000)
    hard = group == 2
    label = np.where(hard & (rng.random(20_000) < 0.4), rng.integers(0, K, 20_000), label)
    scores, half = conformal.lac(p), np.arange(20_000) < 10_000
    true = conformal.true_scores(scores, label)
    one = scores <= conformal.threshold(true[half], 0.1)
    by_group = scores <= conformal.mondrian(true[half], group[half], 0.1).of(group)[:, None]
    by_class = scores <= conformal.mondrian(true[half], label[half], 0.1).of(np.arange(K))[None]
    for sets, of, worst in ((one, group, 0.2), (by_group, group, 0.02), (by_class, label, 0.03)):
        found = conformal.set_coverage(sets[~half], label[~half], of[~half])
        gap = np.abs(found.coverage[1:] - 0.9).max()
        assert gap < worst
        assert found.group == ("all", *map(str, range(len(found.group) - 1)))
        assert (found.low < found.coverage).all()
        assert (found.coverage < found.high).all()
        if sets is one:
            assert gap > 0.05


def _ridge(x, y):
    return np.linalg.solve(x.T @ x + 0.1 * np.eye(x.shape[1]), x.T @ y)


@pytest.mark.parametrize("folds", [None, 5])
def test_jackknife_plus_is_above_its_bound(folds):
    """Of an overfitted regression, 20 examples of 15 features: the bound is 1 - 2 alpha, and about 1 - alpha is met."""
    rng, n, alpha, covered = np.random.default_rng(0), 20, 0.2, []
    fold = np.arange(n) if folds is None else np.arange(n) % folds
    for _ in range(100):
        x, noise = rng.normal(size=(n + 20, 15)), rng.normal(size=n + 20)
        y = x @ np.ones(15) / 4 + noise
        train, test = (x[:n], y[:n]), (x[n:], y[n:])
        models = np.stack([_ridge(train[0][fold != f], train[1][fold != f]) for f in np.unique(fold)])
        residual = np.abs(train[1] - np.einsum("nd,nd->n", train[0], models[fold]))
        low, high = conformal.jackknife_plus(residual, models @ test[0].T, alpha, fold)
        covered.append(calibration.coverage(low, high, test[1]))
    assert np.mean(covered) > 1 - 2 * alpha
    assert np.mean(covered) > 0.77


def test_jackknife_plus_is_its_definition():
    rng = np.random.default_rng(0)
    residual, predictions = rng.random(12), rng.normal(size=(12, 4))
    low, high = conformal.jackknife_plus(residual, predictions, 0.2)
    for m in range(4):
        assert low[m] == sorted(predictions[:, m] - residual)[2 - 1]  # floor(0.2 * 13)
        assert high[m] == sorted(predictions[:, m] + residual)[11 - 1]  # ceil(0.8 * 13)


def test_weights_restore_the_coverage_under_shift():
    """Inputs move from N(0, 1) to N(1, 1), where the noise is larger; the ratio of densities is exp(x - 1 / 2)."""
    rng, plain, weighted = np.random.default_rng(0), [], []
    for _ in range(200):
        x = rng.normal(size=400) + np.repeat([0, 1], 200)
        y = np.exp(x / 2) * rng.normal(size=400)
        scores, w = np.abs(y), np.exp(x - 0.5)
        at = conformal.weighted_thresholds(scores[:200], w[:200], w[200:], 0.1)
        weighted.append(np.mean(scores[200:] <= at))
        plain.append(np.mean(scores[200:] <= conformal.threshold(scores[:200], 0.1)))
    error = 3 * np.std(weighted) / 200**0.5
    assert np.mean(plain) < 0.83
    assert 0.9 - error < np.mean(weighted) < 0.93


@given(st.integers(9, 60), st.floats(0.1, 0.6), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_equal_weights_are_split_conformal(size, alpha, seed):
    scores = np.random.default_rng(seed).random(size)
    found = conformal.weighted_thresholds(scores, np.full(size, 2.0), np.array([2.0]), alpha)
    assert found[0] == conformal.threshold(scores, alpha)


@pytest.mark.parametrize("test", ["bonferroni", "sequence"])
def test_learn_then_test_errs_seldom(test):
    """The true risk is the setting's own: an error is a setting above alpha that passes."""
    rng, risks, alpha, delta = np.random.default_rng(0), np.linspace(0.02, 0.3, 15), 0.15, 0.1
    wrong, passed = [], []
    for _ in range(500):
        valid = conformal.learn_then_test(rng.random((300, 1)) < risks[None], alpha, delta, test)
        wrong.append(valid[risks > alpha].any())
        passed.append(valid.sum())
    assert np.mean(wrong) < delta + 0.03
    assert np.mean(passed) > 3


def test_tests_of_many_settings_are_corrected():
    """Each at its share of delta; in a sequence each at delta, until the first that fails."""
    losses = np.zeros((100, 4))
    losses[:8, 0], losses[:30, 1], losses[:11, 2] = 1, 1, 1
    p = conformal.hoeffding_bentkus(losses.mean(axis=0), 100, 0.2)
    assert 0.1 / 4 < p[2] < 0.1
    assert conformal.learn_then_test(losses, 0.2, 0.1).tolist() == [True, False, False, True]
    assert conformal.learn_then_test(losses, 0.2, 0.1, "sequence").tolist() == [True, False, False, False]
    assert conformal.learn_then_test(losses[:, [0, 2, 3]], 0.2, 0.1, "sequence").all()


def test_conformal_risk_is_the_expected_loss():
    """The share of labels that sets of several labels miss; calibrated 400 times."""
    rng, settings_, alpha = np.random.default_rng(0), np.linspace(1, 0, 101), 0.1
    p = rng.random((400, 61, 6))
    label = rng.random(p.shape) < p
    missed = (label[..., None] & (p[..., None] < settings_)).sum(axis=2) / np.maximum(label.sum(axis=2), 1)[..., None]
    chosen = [conformal.conformal_risk(losses[:60], alpha) for losses in missed]
    new = [losses[60, i] for losses, i in zip(missed, chosen, strict=True)]
    assert np.mean(new) < alpha + 3 * np.std(new) / 20
    assert np.mean(new) > alpha / 2


def test_a_miss_as_a_loss_is_split_conformal():
    scores = np.random.default_rng(0).random(50)
    ordered = np.sort(scores)
    chosen = conformal.conformal_risk((scores[:, None] > ordered[None]).astype(float), 0.1)
    assert ordered[chosen] == conformal.threshold(scores, 0.1)


@given(st.integers(0, 2**31), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_the_risk_coverage_curve_is_its_definition(seed, size):
    rng = np.random.default_rng(seed)
    confidence, loss = rng.integers(0, 4, size) / 4, rng.integers(0, 2, size).astype(float)
    found = conformal.risk_coverage(confidence, loss)
    orders = [rng.permutation(size) for _ in range(400)]
    areas = []
    for order in orders:
        ranked = loss[order][np.argsort(-confidence[order], kind="stable")]
        areas.append(np.mean(np.cumsum(ranked) / np.arange(1, size + 1)))
    assert found.aurc == pytest.approx(np.mean(areas), abs=5 * np.std(areas) / 20 + 1e-9)
    assert found.risk[-1] == pytest.approx(loss.mean())
    assert conformal.risk_coverage(-loss, loss).excess == pytest.approx(0, abs=1e-12)
    assert found.excess > -1e-12


def test_a_confidence_that_tells_nothing_apart_has_an_excess():
    """Against the order by losses, 0 then 1: areas of 1/2 and of (0 + 1/2) / 2."""
    found = conformal.risk_coverage(np.zeros(2), np.array([1.0, 0.0]))
    assert (found.aurc, found.excess) == (0.5, 0.25)


def test_weights_of_zero_say_nothing():
    """Where no calibration example is like the new one, nor the new one has a weight, all labels pass."""
    scores = np.arange(3.0)
    found = conformal.weighted_thresholds(scores, np.zeros(3), np.array([0.0, 1.0]), 0.5)
    assert found.tolist() == [np.inf, np.inf]
    assert conformal.weighted_thresholds(scores, np.array([0.0, 1.0, 1.0]), np.array([0.0]), 0.4).tolist() == [2.0]


def test_an_example_keeps_its_number():
    key = jax.random.key(1)
    whole = conformal.uniforms(np.arange(1000), key)
    np.testing.assert_array_equal(conformal.uniforms(np.arange(1000)[::-3], key), whole[::-3])
    assert kstest(whole, "uniform").pvalue > 0.01


P, ONES = np.full((4, 2), 0.5), np.ones(9)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: conformal.threshold(np.zeros(5), 0.1), "5 calibration examples are too few for alpha=0.1; give 9 or"),
        (lambda: conformal.threshold(np.zeros(5), 10), "alpha is 10, expected above 0 and below 1"),
        (lambda: conformal.threshold(np.array([0, np.nan]), 0.5), "1 of 2 calibration scores are NaN"),
        (
            lambda: conformal.mondrian(np.zeros(30), np.array([7] * 25 + [8] * 5), 0.1),
            "5 calibration examples of group 8 are too few for alpha=0.1; give 9",
        ),
        (
            lambda: conformal.mondrian(np.zeros(30), np.array(["a", "b"] * 15), 0.1).of(np.array(["b", "c"])),
            "group c has no calibration examples",
        ),
        (lambda: conformal.threshold(P, 0.5), r"shape \[4, 2\], expected \[N\]; give true_scores"),
        (lambda: conformal.weighted_thresholds(np.array([0, np.nan]), np.ones(2), np.ones(1), 0.5), "1 of 2 .* NaN"),
        (lambda: conformal.weighted_thresholds(np.zeros(2), np.ones(3), np.ones(1), 0.5), "give one weight for each"),
        (lambda: conformal.jackknife_plus(np.array([-1.0, 1]), np.zeros((2, 1)), 0.5), "residual is negative or NaN"),
        (lambda: conformal.jackknife_plus(np.array([np.nan, 1]), np.zeros((2, 1)), 0.5), "residual is negative or NaN"),
        (lambda: conformal.jackknife_plus(np.ones(2), np.full((2, 1), np.nan), 0.5), "or a prediction is NaN"),
        (lambda: conformal.jackknife_plus(np.ones(2), np.full((2, 1), np.inf), 0.5), "prediction is NaN or infinite"),
        (
            lambda: conformal.jackknife_plus(np.ones(20), np.zeros(20), 0.1),
            r"predictions have the shape \[20\], exp",
        ),
        (lambda: conformal.jackknife_plus(np.ones((20, 1)), np.zeros((20, 3)), 0.1), r"residual \[20, 1\]; expected"),
        (
            lambda: conformal.jackknife_plus(np.ones(20), np.zeros((20, 3)), 0.1, np.zeros((20, 1), int)),
            "20 models for 20 examples; .* the number of the model",
        ),
        (lambda: conformal.residual_intervals(np.ones(9), np.ones(9), np.ones((2, 1)), 0.5), r"new \[2, 1\]; expected"),
        (
            lambda: conformal.quantile_intervals(ONES, ONES, ONES, np.ones(2), np.ones((2, 1)), 0.5),
            r"new_low \[2\], new_high \[2, 1\]; expected",
        ),
        (lambda: conformal.cross_sets(P[:, 0], np.zeros(4)), r"scores have the shape \[4\], expected \[N, K\]"),
        (lambda: conformal.summary()(P[:, 0], np.zeros(4), None), r"logits have the shape \[4\], expected \[N, K\]"),
        (
            lambda: conformal.mondrian(np.zeros(0), np.zeros(0), 0.1).of(np.ones(1)),
            "group 1.0 has no calibration examples; no",
        ),
        (lambda: conformal.learn_then_test(np.zeros(100), 0.1), r"losses have the shape \[100\], expected \[N, L\]"),
        (lambda: conformal.summary()(P, np.zeros(4), np.zeros(5)), r"groups have the shape \[5\], expected \[4\], one"),
        (lambda: conformal.learn_then_test(np.zeros((0, 3)), 0.1), r"shape \[0, 3\], expected one example and one"),
        (lambda: conformal.conformal_risk(np.zeros(100), 0.1), r"losses have the shape \[100\], expected \[N, L\]"),
        (lambda: conformal.conformal_risk(np.zeros((100, 0)), 0.1), r"shape \[100, 0\], expected one example and one"),
        (lambda: conformal.residual_intervals(np.zeros(4), np.ones((4, 1)), np.zeros(1), 0.5), r"target \[4, 1\]; exp"),
        (lambda: conformal.cqr_scores(np.zeros(4), np.ones(4), np.ones((4, 1))), r"target \[4, 1\]; expected"),
        (lambda: conformal.risk_coverage(np.array([0.5, np.nan]), np.zeros(2)), "a confidence or a loss is NaN"),
        (lambda: conformal.lac(2 * P), "sums to 2; give softmax"),
        (lambda: conformal.aps(P, np.full(4, 2.0)), r"expected \[4\] numbers in \[0, 1\]"),
        (lambda: conformal.true_scores(P, np.array([0, 1, 2, 0])), "label 2 of example 2 is not one of the classes"),
        (lambda: conformal.jackknife_plus(np.zeros(3), np.zeros((2, 1)), 0.5), "2 models for 3 examples"),
        (lambda: conformal.jackknife_plus(np.zeros(3), np.zeros((3, 1)), 0.1), "give 9 or more"),
        (lambda: conformal.weighted_thresholds(np.zeros(2), np.array([1, np.inf]), np.ones(1), 0.5), "infinite"),
        (lambda: conformal.learn_then_test(np.full((5, 2), 3.0), 0.1), "divide by the largest"),
        (lambda: conformal.conformal_risk(np.array([[0.0, 1.0]]), 0.1), "rises from a setting to the next"),
        (lambda: conformal.conformal_risk(np.zeros((5, 2)), 0.1), "give 9 or more"),
        (lambda: conformal.conformal_risk(np.ones((50, 2)), 0.1), "the risk is 1 at best"),
        (lambda: conformal.risk_coverage(np.zeros(0), np.zeros(0)), "N of 1 or more"),
        (lambda: conformal.mondrian(np.zeros(30), np.zeros(7), 0.1), r"groups \[7\] of scores \[30\]"),
        (lambda: conformal.set_coverage(P, np.zeros(4, int)), r"float64\[4, 2\], expected booleans"),
        (lambda: conformal.coverage_by_group(P > 0.5, np.zeros(4)), r"covered has the shape \[4, 2\], expected \[4\]"),
        (
            lambda: conformal.coverage_by_group(P[:, 0] > 0.5, np.zeros(4), [1, 2]),
            r"groups have the shape \[2\], exp",
        ),
        (lambda: conformal.coverage_law(100, 10), "alpha is 10, expected above 0 and below 1"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(UserError, match=told):
        call()


@given(st.integers(1, 400), st.floats(0.01, 0.5))
@settings(max_examples=100, deadline=None)
def test_the_smallest_set_that_is_named_suffices_and_no_smaller(size, alpha):
    try:
        conformal.threshold(np.zeros(size), alpha)
    except UserError as error:
        least = int(str(error).split("give ")[1].split()[0])
        assert conformal.threshold(np.zeros(least), alpha) == 0
        with pytest.raises(UserError):
            conformal.threshold(np.zeros(least - 1), alpha)


def _patients():
    """Twenty patients of 150 examples, of whom two are harder; the class 4 is rare."""
    rng = np.random.default_rng(0)
    p, label = _draw(rng, 3000)
    patient = np.arange(3000) // 150
    label = np.where((patient < 2) & (rng.random(3000) < 0.5), rng.integers(0, K, 3000), label)
    label = np.where((label == 4) & (np.arange(3000) % 500 > 20), 0, label)
    return p, label, patient


@pytest.mark.parametrize("per", ["all", "class"])
def test_no_patient_calibrates_its_own_sets(per):
    """Other labels of a patient change the others' sets only; and the whole is covered."""
    p, label, patient = _patients()
    scores = conformal.lac(p)
    once = conformal.cross_sets(scores, label, patient, 0.1, per, folds=20)
    changed = np.where(patient == 3, (label + 1) % K, label)
    again = conformal.cross_sets(scores, changed, patient, 0.1, per, folds=20)
    np.testing.assert_array_equal(once[patient == 3], again[patient == 3])
    assert (once[patient != 3] != again[patient != 3]).any()
    at = conformal.threshold(conformal.true_scores(scores, label)[patient != 3], 0.1)
    if per == "all":
        np.testing.assert_array_equal(once[patient == 3], scores[patient == 3] <= at)
    assert conformal.set_coverage(once, label).coverage[0] == pytest.approx(0.9, abs=0.02)


def test_the_summary_tells_of_classes_and_patients():
    p, label, patient = _patients()
    told = conformal.summary(0.1, "abcde", folds=20)(np.log(p), label, patient)
    assert told["lac_coverage"] == pytest.approx(0.9, abs=0.02)
    assert told["aps_coverage"] == pytest.approx(0.9, abs=0.02)
    assert min(told[f"by_class_coverage_{name}"] for name in "abcd") > 0.86
    assert min(told[f"lac_coverage_{name}"] for name in "abcd") < 0.86
    assert told["lac_least_group"] < 0.8
    assert 0.1 <= told["lac_groups_below"] < 0.6


def test_the_summary_is_of_the_examples_in_any_order():
    """With patients and without; labels may be floats."""
    p, label, patient = _patients()
    order = np.random.default_rng(1).permutation(3000)
    told = conformal.summary(0.1, "abcde")
    for group in (patient, None):
        moved = None if group is None else group[order]
        assert told(np.log(p)[order], label[order].astype(float), moved) == told(np.log(p), label, group)


def test_lists_and_labels_of_floats_are_taken():
    p, label, _ = _patients()
    sets = conformal.cross_sets(conformal.lac(p), label, per="class")
    again = conformal.cross_sets(conformal.lac(p).tolist(), label.astype(float), per="class")
    np.testing.assert_array_equal(again, sets)
    calls: list[tuple[Any, list, list]] = [
        (conformal.residual_intervals, [[0.0] * 3, [1.0, -2.0, 3.0], [1.0, 2.0], 0.5], [3.0, 4.0]),
        (conformal.quantile_intervals, [[0.0] * 3, [1.0] * 3, [0.0, 1.0, 3.0], [5.0], [7.0], 0.25], [9.0]),
        (conformal.jackknife_plus, [[1.0, 2.0, 3.0], [[0.0], [0.5], [0.0]], 0.25], [3.0]),
    ]
    for call, args, expected in calls:
        assert call(*args).high.tolist() == expected


@pytest.mark.parametrize("label", [[0] * 30 + [1] * 4, []])
def test_everything_passes_of_a_class_without_enough_examples(label):
    """Nor with any."""
    found = conformal.mondrian(np.zeros(len(label)), np.array(label), 0.1, few="everything")
    assert found.of(np.arange(3)).tolist() == [0.0 if label else np.inf, np.inf, np.inf]


def test_a_class_with_few_examples_is_in_every_set():
    p, label, _ = _patients()
    label = np.where(label == 4, 0, label)
    label[:5] = 4
    sets = conformal.cross_sets(conformal.lac(p), label, None, 0.1, "class")
    assert sets[:, 4].all()
    assert not sets[:, 3].all()
    assert conformal.threshold(np.zeros(5), 0.1, few="everything") == np.inf
