"""Calibration against scikit-learn, and its laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator

from deeplab.robust import calibration

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (400, 3))
LABEL = np.array([RNG.choice(3, p=p) for p in calibration.softmax(LOGITS / 1.7)])


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its logits."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


def test_bins_are_scikit_learns():
    probability = RNG.random(300)
    positive = RNG.random(300) < probability
    bins = calibration.reliability(probability, positive, 10)
    accuracy, confidence = calibration_curve(positive, probability, n_bins=10)
    np.testing.assert_allclose(bins.accuracy, accuracy)
    np.testing.assert_allclose(bins.confidence, confidence)
    expected = np.sum(bins.count * abs(accuracy - confidence)) / 300
    assert calibration.expected_calibration_error(probability, positive, 10) == pytest.approx(expected)


def test_the_temperature_is_scikit_learns():
    model = FrozenEstimator(Given().fit(LOGITS, LABEL))
    theirs = CalibratedClassifierCV(model, method="temperature").fit(LOGITS, LABEL)
    ours = calibration.softmax(LOGITS / calibration.temperature(LOGITS, LABEL))
    np.testing.assert_allclose(theirs.predict_proba(LOGITS), ours, atol=1e-5)


@given(st.floats(0.2, 5.0))
@settings(max_examples=10, deadline=None)
def test_the_temperature_scales_with_the_logits_whatever_is_added(scale):
    once = calibration.temperature(LOGITS, LABEL)
    assert calibration.temperature(scale * LOGITS + 7, LABEL) == pytest.approx(scale * once, rel=1e-4)


def test_a_perfect_classifier_has_hardly_a_temperature():
    assert 0.0099 < calibration.temperature(np.eye(3)[LABEL], LABEL) < 0.05


def test_a_temperature_has_not_seen_its_group():
    """Other labels in one group change the others' logits, and never its own."""
    group = np.arange(400) // 40
    changed = np.where(group == 2, (LABEL + 1) % 3, LABEL)
    once, again = (calibration.cross_fitted(LOGITS, label, group) for label in (LABEL, changed))
    same = np.isclose(once, again).all(axis=1)
    assert same[np.isin(group, (2, 7))].all()  # dealt out to the same one of five folds
    assert not same[~np.isin(group, (2, 7))].any()


def test_a_single_group_is_left_alone():
    np.testing.assert_array_equal(calibration.cross_fitted(LOGITS, LABEL, np.zeros(400, int)), LOGITS)


def test_scaling_helps_a_model_that_is_too_sure():
    told = calibration.summary(3 * LOGITS, LABEL)
    assert told["ece_scaled"] < 0.5 * told["ece"]
    assert told["temperature"] == pytest.approx(3 * calibration.temperature(LOGITS, LABEL), rel=1e-4)
