"""Areas and sensitivities against scikit-learn, with ties and weights; intervals over groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from deeplab.metrics import roc

EXAMPLES = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=4, max_size=30).filter(
    lambda rows: len({positive for _, positive, weight in rows if weight}) == 2
)


@given(EXAMPLES)
@settings(max_examples=60, deadline=None)
def test_areas_are_scikit_learns(rows):
    score, positive, weight = (np.array(column) for column in zip(*rows, strict=True))
    curve = roc.Scores(score.astype(float), positive).curve(weight.astype(float))
    assert roc.auroc(curve) == pytest.approx(metrics.roc_auc_score(positive, score, sample_weight=weight))
    precision = metrics.average_precision_score(positive, score, sample_weight=weight)
    assert roc.average_precision(curve) == pytest.approx(precision)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, float])
def test_labels_and_scores_may_be_integers(dtype):
    """~1 is -2, and -np.uint8(1) is 255: the areas were wrong in silence."""
    score, positive = np.array([0, 1, 2, 3, 3], dtype), np.array([0, 1, 0, 1, 0])
    for given_labels in (positive, positive.astype(np.uint8), positive.astype(float), positive > 0, positive.tolist()):
        curve = roc.Scores(score, given_labels).curve()
        assert roc.auroc(curve) == pytest.approx(metrics.roc_auc_score(positive, score))
        assert roc.average_precision(curve) == pytest.approx(metrics.average_precision_score(positive, score))


@given(EXAMPLES, st.sampled_from([0.0, 0.5, 0.9, 1.0]))
@settings(max_examples=60, deadline=None)
def test_sensitivity_is_that_of_the_best_threshold_allowed(rows, specificity):
    score, positive, weight = (np.array(column) for column in zip(*rows, strict=True))
    false, true, _ = metrics.roc_curve(positive, score, sample_weight=weight, drop_intermediate=False)
    curve = roc.Scores(score.astype(float), positive).curve(weight.astype(float))
    expected = true[1 - false >= specificity - 1e-9].max()
    assert roc.sensitivity_at(curve, specificity) == pytest.approx(expected)


def test_without_both_classes_there_is_no_value():
    curve = roc.Scores(np.arange(3.0), np.zeros(3, bool)).curve()
    values = roc.auroc(curve), roc.average_precision(curve), roc.sensitivity_at(curve, 0.9)
    assert np.isnan(values).all()
    assert np.isnan(roc.bootstrap(roc.Scores(np.arange(3.0), np.zeros(3, bool)), roc.auroc)).all()


def test_weights_are_copies():
    """A resample by weights is the resample by copies."""
    rng = np.random.default_rng(0)
    score, positive, times = rng.integers(0, 9, 40).astype(float), rng.random(40) < 0.4, rng.integers(0, 4, 40)
    copies = roc.Scores(np.repeat(score, times), np.repeat(positive, times)).curve()
    weighted = roc.Scores(score, positive).curve(times.astype(float))
    assert roc.auroc(weighted) == pytest.approx(roc.auroc(copies))


def test_patients_make_wider_intervals_than_beats():
    """Ten copies of each example are no ten times the evidence, if they are one patient's."""
    rng = np.random.default_rng(0)
    score, positive = rng.normal(size=40), rng.random(40) < 0.5
    scores, group = roc.Scores(np.repeat(score, 10), np.repeat(positive, 10)), np.repeat(np.arange(40), 10)
    once, grouped, beats = (roc.bootstrap(*x) for x in (
        (roc.Scores(score, positive), roc.auroc), (scores, roc.auroc, group), (scores, roc.auroc)
    ))  # fmt: skip
    assert grouped == pytest.approx(once)
    assert beats[1] - beats[0] < 0.5 * (grouped[1] - grouped[0])
    assert grouped[0] < roc.auroc(scores.curve()) < grouped[1]
