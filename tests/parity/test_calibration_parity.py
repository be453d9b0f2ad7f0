"""Errors and maps of calibration equal those of netcal on the same probabilities."""

import warnings

import numpy as np
import pytest

from deeplab.robust import calibration

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    metrics = pytest.importorskip("netcal.metrics")
    binning = pytest.importorskip("netcal.binning")

RNG = np.random.default_rng(0)
# 503 is a prime: no quantile is a probability, which is in the bin below for us, and above for them.
P = calibration.softmax(RNG.normal(0, 2, (504, 4)))
LABEL = np.array([RNG.choice(4, p=p) for p in P**1.3 / (P**1.3).sum(axis=1, keepdims=True)])
CONFIDENCE, CORRECT = P.max(axis=1), P.argmax(axis=1) == LABEL
MEAN, STD = RNG.normal(size=300), RNG.uniform(0.5, 2, 300)
TARGET = MEAN + 1.3 * STD * RNG.normal(size=300)
LEVELS = np.linspace(0.1, 0.9, 9)


@pytest.mark.parametrize("bins", ["width", "mass"])
@pytest.mark.parametrize("num_bins", [5, 15])
def test_ece(bins, num_bins):
    theirs = metrics.ECE(num_bins, equal_intervals=bins == "width").measure(P, LABEL)
    ours = calibration.expected_calibration_error(CONFIDENCE, CORRECT, num_bins, bins)
    assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("bins", ["width", "mass"])
def test_classwise(bins):
    """It has the error of one class against the rest."""
    ece = metrics.ECE(10, equal_intervals=bins == "width")
    theirs = np.mean([ece.measure(P[:, k], (k == LABEL).astype(int)) for k in range(4)])
    assert calibration.classwise_calibration_error(P, LABEL, 10, bins) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (calibration.isotonic, binning.IsotonicRegression),
        (lambda p, y: calibration.histogram(p, y, 10), lambda: binning.HistogramBinning(10)),
    ],
)
def test_binary_maps(ours, theirs):
    p, y = P[:, 0], LABEL == 0
    np.testing.assert_allclose(ours(p, y)(p), theirs().fit(p, y.astype(int)).transform(p), atol=1e-6)


def test_histogram_of_several_classes():
    theirs = binning.HistogramBinning(10).fit(P, LABEL).transform(P)
    ours = calibration.one_vs_rest(lambda p, y: calibration.histogram(p, y, 10), P, LABEL)(P)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "name", "shown"),
    [
        (lambda z: calibration.softmax(z / calibration.temperature(z, LABEL)), "TemperatureScaling", "[N, K]"),
        (lambda z: calibration.beta(P[:, 0], LABEL == 0)(P[:, 0]), "BetaCalibration", "[N]"),
    ],
)
def test_fitted_maps(ours, name, shown):
    """Its optimizer stops where the loss falls by less than float32 tells: so much the parameters differ, ours fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaling = pytest.importorskip("netcal.scaling")
        x, y = (P, LABEL) if shown == "[N, K]" else (P[:, 0], (LABEL == 0).astype(int))
        model = getattr(scaling, name)(detection=False, method="mle")
        theirs = model.fit(x, y, random_state=0).transform(x)
    made = ours(np.log(P))
    np.testing.assert_allclose(made, theirs, atol=2e-3)
    losses = [_loss(p, x.ndim) for p in (made, theirs)]
    assert losses[0] <= losses[1] + 1e-9


def _loss(p, ndim):
    both = p if ndim == 2 else np.stack([p, 1 - p], axis=1)
    return calibration.negative_log_likelihood(both, LABEL if ndim == 2 else (LABEL != 0).astype(int))


def test_intervals_of_a_normal_law():
    from scipy.stats import norm

    half = STD[:, None] * norm.ppf(0.5 + LEVELS / 2)[None]
    ours = [calibration.coverage(MEAN - half[:, i], MEAN + half[:, i], TARGET) for i in range(9)]
    widths = [calibration.mean_width(MEAN - half[:, i], MEAN + half[:, i]) for i in range(9)]
    theirs = metrics.PICP().measure((MEAN, STD), TARGET, q=LEVELS, reduction="none")
    np.testing.assert_allclose(ours, theirs.picp[:, 0], atol=1e-6)
    np.testing.assert_allclose(widths, theirs.mpiw[:, 0], atol=1e-6)
    error = metrics.QCE(marginal=True).measure((MEAN, STD), TARGET, q=LEVELS, reduction="mean")
    assert np.mean(np.abs(ours - LEVELS)) == pytest.approx(float(error), abs=1e-6)
