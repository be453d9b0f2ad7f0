"""Errors, scores and maps of calibration: scikit-learn's, and their laws."""

import numpy as np
import pytest
import sklearn.isotonic
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, mean_pinball_loss

from deeplab.core.errors import UserError
from deeplab.robust import calibration, resampling

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (600, 3))
P = calibration.softmax(LOGITS)
LABEL = np.array([RNG.choice(3, p=p) for p in calibration.softmax(LOGITS / 1.7)])
BINARY = RNG.random(500)
POSITIVE = RNG.random(500) < BINARY**1.5


@pytest.mark.parametrize(("size", "num_bins"), [(500, 7), (497, 4)])  # of 497, the quarters are probabilities
def test_bins_of_equal_mass_are_scikit_learns(size, num_bins):
    p, positive = BINARY[:size], POSITIVE[:size]
    accuracy, confidence = calibration_curve(positive, p, n_bins=num_bins, strategy="quantile")
    bins = calibration.reliability(p, positive, num_bins, "mass")
    np.testing.assert_allclose(bins.accuracy, accuracy)
    np.testing.assert_allclose(bins.confidence, confidence)
    assert bins.count.max() - bins.count.min() <= 1


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_each_class_is_scikit_learns_curve(strategy):
    kind = {"uniform": "width", "quantile": "mass"}[strategy]
    found = []
    for k in range(3):
        accuracy, confidence = calibration_curve(k == LABEL, P[:, k], n_bins=10, strategy=strategy)
        count = calibration.reliability(P[:, k], k == LABEL, 10, kind).count
        found.append(np.sum(count * abs(accuracy - confidence)) / 600)
    assert calibration.classwise_calibration_error(P, LABEL, 10, kind) == pytest.approx(np.mean(found), abs=1e-12)


def test_scores_are_scikit_learns():
    assert calibration.brier(P, LABEL) == pytest.approx(brier_score_loss(LABEL, P, scale_by_half=False), abs=1e-12)
    assert calibration.negative_log_likelihood(P, LABEL) == pytest.approx(log_loss(LABEL, P), abs=1e-12)


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_the_parts_of_the_brier_score_add_up(seed, classes, bins):
    rng = np.random.default_rng(seed)
    p, y = rng.dirichlet(np.full(classes, 0.5), 40), rng.integers(0, classes, 40)
    whole, reliability, resolution, uncertainty, within = calibration.brier_parts(p, y, bins)
    assert whole == pytest.approx(calibration.brier(p, y), abs=1e-12)
    assert reliability - resolution + uncertainty + within == pytest.approx(whole, abs=1e-12)
    assert min(reliability, resolution, uncertainty) >= 0


def test_the_bias_is_the_mean_over_draws():
    """The folded normal's mean, in place of draws of the accuracies."""
    bins = calibration.reliability(BINARY, POSITIVE, 10)
    spread = np.sqrt(bins.accuracy * (1 - bins.accuracy) / bins.count)
    drawn = bins.accuracy + spread * np.random.default_rng(1).normal(size=(200_000, len(spread)))
    share = bins.count / 500
    mean = (np.abs(drawn - bins.confidence) @ share).mean()
    once = calibration.expected_calibration_error(BINARY, POSITIVE, 10)
    assert calibration.debiased_calibration_error(BINARY, POSITIVE, 10) == pytest.approx(2 * once - mean, abs=1e-4)


def _drawn(rng, shift, size=400):
    p = rng.uniform(0.5, 1 - shift, size)
    return p, rng.random(size) < p + shift


def test_the_bias_is_taken_off():
    """All of predictions that are off by 10 %; a part where they are perfect, and each bin's difference is of noise."""
    rng = np.random.default_rng(0)
    for shift, left in ((0.1, 0.2), (0.0, 0.65)):
        draws = [_drawn(rng, shift) for _ in range(200)]
        plain, debiased = (
            np.mean([f(*d) for d in draws]) - shift
            for f in (calibration.expected_calibration_error, calibration.debiased_calibration_error)
        )
        assert abs(debiased) < left * plain


def test_the_interval_holds_the_error():
    rng = np.random.default_rng(0)
    found = [calibration.calibration_interval(*_drawn(rng, 0.1), resamples=60, num_bins=10) for _ in range(100)]
    assert sum(each.low <= 0.1 <= each.high for each in found) >= 88  # the 95 % interval of 100 draws


def test_the_interval_of_perfect_predictions_starts_at_zero():
    """The error of noise, 4 % here, is no error."""
    rng = np.random.default_rng(0)
    draws = [_drawn(rng, 0.0) for _ in range(40)]
    assert np.mean([calibration.expected_calibration_error(*d, num_bins=10) for d in draws]) > 0.03
    assert sum(calibration.calibration_interval(*d, resamples=60, num_bins=10).low == 0 for d in draws) >= 36


@pytest.mark.parametrize("alike", [True, False])
def test_the_interval_of_perfect_predictions_starts_at_zero_over_groups(alike):
    """Of 30 patients, whose beats are all alike, or are independent."""
    zero = 0
    for seed in range(60):
        rng, group = np.random.default_rng(seed), np.repeat(np.arange(30), 20)
        p = rng.uniform(0.5, 1, 30)[group]
        right = (rng.random(30)[group] if alike else rng.random(600)) < p
        zero += calibration.calibration_interval(p, right, group, resamples=60).low == 0
    assert zero >= 53


def test_the_interval_over_groups_sees_an_error():
    """Of 30 patients, whose confidences are 15 % too high."""
    above = 0
    for seed in range(20):
        rng, group = np.random.default_rng(seed), np.repeat(np.arange(30), 20)
        p = rng.uniform(0.6, 1, 600)
        own = rng.random((30, 20)) < 0.1  # of a patient all such beats are alike
        right = np.where(own, rng.random((30, 1)), rng.random((30, 20))).ravel() < p - 0.15
        above += calibration.calibration_interval(p, right, group, resamples=60).low > 0
    assert above >= 18


def test_lists_are_arrays():
    p, right = BINARY[:40].tolist(), POSITIVE[:40].tolist()
    assert calibration.calibration_interval(p, right) == calibration.calibration_interval(BINARY[:40], POSITIVE[:40])


def test_resampled_groups_are_whole():
    group = np.repeat(np.arange(5), 20)
    values = np.repeat(RNG.normal(size=5), 20)
    by_group, by_example = (resampling.bootstrap(np.mean, [values], g) for g in (group, None))
    assert by_group.high - by_group.low > 3 * (by_example.high - by_example.low)
    seen = []
    resampling.bootstrap(lambda g: seen.append(np.bincount(g, minlength=5)) or 0.0, [group], group, resamples=20)
    assert (np.concatenate(seen) % 20 == 0).all()


def test_vector_scaling_of_two_classes_is_logistic_regression():
    z, y = LOGITS[:, :2], (LABEL > 0).astype(int)
    features = np.stack([z[:, 1], -z[:, 0]], axis=1)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky").fit(features, y).predict_proba(features)
    ours = calibration.softmax(calibration.vector_scaling(z, y)(z))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_vector_scaling_is_a_stationary_point_and_not_worse_than_a_temperature():
    found = calibration.vector_scaling(LOGITS, LABEL)
    residual = calibration.softmax(found(LOGITS)) - np.eye(3)[LABEL]
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose((residual * LOGITS).mean(axis=0), 0, atol=1e-10)
    scaled = calibration.softmax(LOGITS / calibration.temperature(LOGITS, LABEL))
    told = [calibration.negative_log_likelihood(p, LABEL) for p in (calibration.softmax(found(LOGITS)), scaled, P)]
    assert told == sorted(told)


def test_vector_scaling_of_separable_classes_ends():
    found = calibration.vector_scaling(np.eye(3)[LABEL], LABEL)
    assert np.isfinite(found.scale).all()
    assert calibration.negative_log_likelihood(calibration.softmax(found(np.eye(3)[LABEL])), LABEL) < 1e-6


def test_vector_scaling_without_a_likelihood_is_nan():
    missing = np.where(np.arange(600)[:, None] == 7, np.nan, LOGITS)
    for found in (calibration.vector_scaling(missing, LABEL), calibration.vector_scaling(LOGITS[:0], LABEL[:0])):
        assert np.isnan([found.scale, found.offset]).all()


def test_isotonic_is_scikit_learns():
    p, positive = np.round(BINARY, 2), POSITIVE  # with ties
    theirs = sklearn.isotonic.IsotonicRegression(out_of_bounds="clip").fit(p, positive)
    at = np.linspace(0, 1, 333)
    np.testing.assert_allclose(calibration.isotonic(p, positive)(at), theirs.predict(at), atol=1e-12)


def test_beta_is_logistic_regression_of_logarithms():
    x = np.stack([np.log(BINARY), -np.log1p(-BINARY)], axis=1)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky").fit(x, POSITIVE)
    found = calibration.beta(BINARY, POSITIVE)
    assert (theirs.coef_ > 0).all()
    np.testing.assert_allclose(found(BINARY), theirs.predict_proba(x)[:, 1], atol=1e-6)


def test_beta_never_falls():
    """Against the order of the probabilities, what is left is a constant."""
    found = calibration.beta(BINARY, ~POSITIVE)
    assert (found.a, found.b) == (0, 0)
    np.testing.assert_allclose(found(BINARY), 1 - POSITIVE.mean(), atol=1e-9)


@pytest.mark.parametrize("fit", [calibration.isotonic, calibration.beta, calibration.histogram])
def test_a_probability_that_is_nan_stays_nan(fit):
    p = np.array([np.nan, 0.5])
    assert np.isnan(fit(BINARY, POSITIVE)(p)).tolist() == [True, False]
    made = calibration.one_vs_rest(fit, P, LABEL)(np.array([[np.nan, 0.5, 0.5], [0.2, 0.3, 0.5]]))
    assert np.isnan(made).tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("fit", [calibration.isotonic, calibration.beta, calibration.histogram])
def test_each_class_against_the_rest(fit):
    calibrate = calibration.one_vs_rest(fit, P[:400], LABEL[:400])
    made = calibrate(P[400:])
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-12)
    errors = [calibration.classwise_calibration_error(p, LABEL[400:], 5) for p in (made, P[400:])]
    assert errors[0] < errors[1]


def test_pinball_is_scikit_learns():
    y, levels = RNG.normal(size=200), np.array([0.1, 0.5, 0.9])
    quantiles = y[:, None] + RNG.normal(size=(200, 3))
    theirs = [mean_pinball_loss(y, quantiles[:, i], alpha=t) for i, t in enumerate(levels)]
    np.testing.assert_allclose(calibration.pinball(quantiles, y, levels), theirs, atol=1e-12)


def test_quantiles_of_the_law_are_calibrated():
    from scipy.stats import norm

    y, levels = np.random.default_rng(0).normal(size=40_000), np.linspace(0.05, 0.95, 19)
    for scale, error in ((1.0, 0.0), (0.5, np.abs(norm.cdf(0.5 * norm.ppf(levels)) - levels).mean())):
        quantiles = np.broadcast_to(scale * norm.ppf(levels), (40_000, 19))
        assert calibration.quantile_calibration_error(quantiles, y, levels) == pytest.approx(error, abs=0.005)


def test_an_interval_of_crossed_ends_is_empty_and_a_target_that_is_not_known_is_not_missed():
    low, high = np.array([0.0, 3.0]), np.array([1.0, 1.0])
    assert calibration.mean_width(low, high) == 0.5
    assert np.isnan(calibration.coverage(low, high, np.array([0.5, np.nan])))
    levels = np.array([0.5])
    assert np.isnan(calibration.quantile_calibration_error(np.array([[np.nan], [0.0]]), np.zeros(2), levels))
    assert np.isnan(calibration.quantile_calibration_error(np.zeros((2, 1)), np.array([0.0, np.nan]), levels))


def test_an_interval_without_ends_covers():
    assert calibration.coverage(np.array([-np.inf, 0]), np.array([np.inf, 1]), np.array([0, 0.5])) == 1
    assert np.isnan(calibration.coverage(np.array([-np.inf]), np.array([np.nan]), np.array([0.0])))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: calibration.expected_calibration_error(LOGITS.max(axis=1), LABEL == 0), "expected 0 to 1; give softm"),
        (lambda: calibration.expected_calibration_error(P.max(axis=1), LABEL), "correct holds 2, expected 0 and 1"),
        (
            lambda: calibration.reliability(P.max(axis=1), LABEL[:1] == 0),
            r"shape \[1\], expected \[600",
        ),
        (lambda: calibration.isotonic(P[:, 0], LABEL), "positive holds 2, expected 0 and 1; .* pass positive == k"),
        (lambda: calibration.coverage(P[:, 0], P[:, 1], LABEL[:, None]), r"target \[600, 1\]; expected \[N\] of each"),
        (lambda: calibration.mean_width(P[:, :1], P[:, 0]), r"low \[600, 1\], high \[600\]; expected"),
        (lambda: resampling.bootstrap(np.mean, [BINARY], np.zeros(499)), r"lengths \[499, 500\]"),
        (lambda: resampling.bootstrap(np.mean, [BINARY, P[:, 0]]), r"lengths \[500, 600\]"),
        (lambda: calibration.brier(2 * P, LABEL), "row 0 sums to 2"),
        (lambda: calibration.brier(LOGITS, LABEL), "row 0 holds -"),
        (lambda: calibration.brier(P, LABEL + 1), "label 3 of example"),
        (lambda: calibration.brier(P, LABEL[1:]), r"shape \[599\], expected \[600\]"),
        (lambda: calibration.reliability(P[:, :1], LABEL == 0), r"confidence \[600, 1\]; expected \[N\]"),
        (lambda: calibration.calibration_interval(P[:, :1], LABEL == 0), r"confidence \[600, 1\]; expected \[N\]"),
        (lambda: calibration.calibration_interval(BINARY, POSITIVE, resamples=0), "resamples is 0, expected 1 or more"),
        (lambda: calibration.calibration_interval(BINARY, POSITIVE, level=2), "level is 2, expected above 0 and below"),
        (lambda: resampling.resampled(np.mean, [BINARY], resamples=0), "resamples is 0, expected 1 or more"),
        (lambda: resampling.interval_of(0.0, BINARY, level=1.5), "level is 1.5, expected above 0 and below 1"),
        (lambda: resampling.dealt(5, None, folds=0), "folds is 0, expected 1 or more"),
        (lambda: calibration.histogram(BINARY, POSITIVE, num_bins=0), "num_bins is 0, expected 1 or more"),
        (lambda: calibration.brier_parts(P, LABEL, num_bins=0), "num_bins is 0, expected 1 or more"),
        (lambda: calibration.vector_scaling(LOGITS[:, 0], LABEL), r"logits have the shape \[600\], expected \[N, K\]"),
        (lambda: calibration.vector_scaling(np.array([[0, -np.inf]]), np.zeros(1)), "a logit is infinite"),
        (lambda: calibration.isotonic(P, LABEL), "one_vs_rest"),
        (lambda: calibration.beta(LOGITS[:, 0], LABEL == 0), "expected 0 to 1"),
        (lambda: calibration.pinball(P, LABEL, np.array([0.1])), r"expected \[N, Q\], \[N\], \[Q\]"),
        (lambda: calibration.pinball(P, LABEL, np.array([1, 50, 99])), "above 0 and below 1"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(UserError, match=told):
        call()
