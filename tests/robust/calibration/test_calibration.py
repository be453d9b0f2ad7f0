"""Calibration against scikit-learn, and its laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator

from deeplab.core.errors import UserError
from deeplab.robust import calibration, resampling

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
    same, fold = np.isclose(once, again).all(axis=1), resampling.dealt(400, group, 5)
    assert same[fold == fold[80]].all()
    assert not same[fold != fold[80]].any()
    assert set(group[fold == fold[80]]) > {2}


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_groups_are_dealt_whole_and_evenly_whatever_their_order(seed, groups, folds):
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.append(np.arange(groups), rng.integers(0, groups, 20)))
    fold = resampling.dealt(len(group), group, folds, seed)
    of_group = [set(fold[group == g]) for g in range(groups)]
    assert all(len(each) == 1 for each in of_group)
    counts = np.bincount([each.pop() for each in of_group], minlength=folds)
    assert len(counts) == folds
    assert np.ptp(counts) <= 1
    order = rng.permutation(len(group))
    np.testing.assert_array_equal(resampling.dealt(len(group), group[order], folds, seed), fold[order])


def test_folds_of_examples_in_an_order_are_exchangeable():
    """Every fifth example is of a class that the model is too sure of: dealt in turn, it would be a fold of its own."""
    rng = np.random.default_rng(0)
    kind = np.arange(4000) % 5
    z = rng.normal(0, 2, (4000, 3))
    label = (calibration.softmax(z).cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    z[kind == 0] *= 4
    found = z[:, 0] / calibration.cross_fitted(z, label)[:, 0]  # the temperature of each example
    assert found.max() < 1.1 * found.min()
    found = z[:, 0] / calibration.cross_fitted(z, label, kind)[:, 0]
    assert found[kind == 0].max() < 0.8 * found[kind != 0].min()  # as it must be where the kinds are patients


def test_a_single_group_is_left_alone():
    np.testing.assert_array_equal(calibration.cross_fitted(LOGITS, LABEL, np.zeros(400, int)), LOGITS)


def test_logits_without_a_likelihood_have_no_temperature():
    """A label whose logit is -inf has the likelihood 0 at every temperature."""
    impossible = np.array([[0.0, -np.inf], [1.0, 0.0]])
    assert np.isnan(calibration.temperature(impossible, np.array([1, 0])))
    assert np.isfinite(calibration.temperature(impossible, np.array([0, 1])))


@pytest.mark.parametrize("other", [-5.0, -np.inf])
def test_logits_that_tell_nothing_keep_their_temperature(other):
    """Every temperature is optimal, also where a class is impossible."""
    logits = np.full((4, 3), -5.0)
    logits[:, 2] = other
    assert calibration.temperature(logits, np.array([0, 1, 0, 1])) == 1


def test_lists_are_arrays():
    assert calibration.summary(LOGITS.tolist(), LABEL.tolist()) == calibration.summary(LOGITS, LABEL)


@pytest.mark.parametrize("call", [calibration.temperature, calibration.cross_fitted, calibration.summary])
def test_logits_have_a_row_for_each_example(call):
    with pytest.raises(UserError, match=r"logits have the shape \[400\], expected \[N, K\]"):
        call(LOGITS[:, 0], LABEL)


@pytest.mark.parametrize("folds", [0, 1])
def test_a_fold_is_fitted_on_the_others(folds):
    with pytest.raises(UserError, match=f"folds is {folds}, expected 2 or more"):
        calibration.cross_fitted(LOGITS, LABEL, folds=folds)


@pytest.mark.parametrize("call", [calibration.temperature, calibration.cross_fitted, calibration.summary])
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_told(call, label):
    with pytest.raises(UserError, match=f"label {label} of example 7 is not one of the classes 0 to 2"):
        call(LOGITS, np.where(np.arange(400) == 7, label, LABEL))


def test_there_is_a_group_for_each_example():
    with pytest.raises(UserError, match=r"groups have the shape \[399\], expected \[400\]"):
        calibration.cross_fitted(LOGITS, LABEL, np.zeros(399, int))


def test_softmax_is_of_the_last_axis():
    np.testing.assert_allclose(calibration.softmax(LOGITS.reshape(4, 100, 3)).sum(axis=-1), 1)


def test_scaling_helps_a_model_that_is_too_sure():
    told = calibration.summary(3 * LOGITS, LABEL)
    assert told["ece_scaled"] < 0.5 * told["ece"]
    assert told["temperature"] == pytest.approx(3 * calibration.temperature(LOGITS, LABEL), rel=1e-4)
