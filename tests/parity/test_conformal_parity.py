"""Sets, intervals and p values equal those of MAPIE on the same predictions."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, LeaveOneOut, StratifiedShuffleSplit

from deeplab.robust import calibration, conformal

mapie = pytest.importorskip("mapie")
classification = pytest.importorskip("mapie.classification")
regression = pytest.importorskip("mapie.regression")
sets = pytest.importorskip("mapie.conformity_scores")

RNG = np.random.default_rng(0)
P = calibration.softmax(RNG.normal(0, 1.5, (400, 6)))
LABEL = np.array([RNG.choice(6, p=p) for p in P])
OLD, NEW = slice(0, 200), slice(200, 400)
ALPHA, SEED = 0.1, 3


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its probabilities."""

    def __init__(self):
        self.classes_ = np.arange(6)

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


class Identity(RegressorMixin, BaseEstimator):
    """A regression whose prediction is one of its inputs."""

    def __init__(self, column=0):
        self.column, self.fitted_ = column, True

    def fit(self, x, y):
        return self

    def predict(self, x):
        return x[:, self.column]


def _theirs(score, include="randomized"):
    model = classification.SplitConformalClassifier(
        Given(), confidence_level=1 - ALPHA, conformity_score=score, prefit=True, random_state=SEED
    )
    model.conformalize(P[OLD], LABEL[OLD])
    options = {} if isinstance(score, sets.LACConformityScore) else {"include_last_label": include}
    _, found = model.predict_set(P[NEW], conformity_score_params=options)
    return found[:, :, 0]


def _u(size=200):
    """Their number, which takes from the score what ours adds to it."""
    return 1 - np.random.RandomState(SEED).uniform(size=size)


def test_lac():
    scores = conformal.lac(P)
    at = conformal.threshold(conformal.true_scores(scores[OLD], LABEL[OLD]), ALPHA)
    np.testing.assert_array_equal(scores[NEW] <= at, _theirs(sets.LACConformityScore()))


def test_randomized_aps():
    at = conformal.threshold(conformal.true_scores(conformal.aps(P[OLD], _u()), LABEL[OLD]), ALPHA)
    ours = conformal.aps(P[NEW], _u()) <= at
    theirs = _theirs(sets.APSConformityScore())
    np.testing.assert_array_equal(ours, theirs)
    assert 1 < ours.sum(axis=1).mean() < 6


def test_raps_on_their_penalty():
    """They choose the penalty on a part of the set, and take the rest; sets without the class that passes the sum."""
    score = sets.RAPSConformityScore()
    theirs = _theirs(score, include=False)
    penalty, free = float(np.ravel(score.lambda_star)[0]), float(np.ravel(score.k_star)[0])
    assert penalty > 0
    split = StratifiedShuffleSplit(n_splits=1, test_size=len(score.y_raps), random_state=SEED)
    rest, _ = next(split.split(P[OLD], LABEL[OLD]))
    drawn = np.random.RandomState(SEED).uniform(size=len(rest))
    calibrated = conformal.raps(P[OLD][rest], 1 - drawn, penalty, int(free))
    at = conformal.threshold(conformal.true_scores(calibrated, LABEL[OLD][rest]), ALPHA)
    assert at == pytest.approx(float(np.ravel(score.quantiles_)[0]), abs=1e-9)
    scores = conformal.raps(P[NEW], np.ones(200), penalty, int(free))
    ours = (scores <= at) | (scores == scores.min(axis=1, keepdims=True))
    np.testing.assert_array_equal(ours, theirs)


X = RNG.normal(size=(300, 3))
Y = X @ np.array([1.0, -1.0, 0.5]) + RNG.normal(size=300) * (1 + np.abs(X[:, 0]))


def test_residuals():
    model = regression.SplitConformalRegressor(Identity(), confidence_level=1 - ALPHA, prefit=True)
    _, theirs = model.conformalize(X[:200], Y[:200]).predict_interval(X[200:])
    ours = conformal.residual_intervals(X[:200, 0], Y[:200], X[200:, 0], ALPHA)
    np.testing.assert_allclose(np.stack(ours, axis=1), theirs[:, :, 0], atol=1e-12)


def test_quantiles():
    z = np.stack([X[:, 0] - 1, X[:, 0] + 1.5, X[:, 0]], axis=1)
    model = regression.ConformalizedQuantileRegressor(
        [Identity(0), Identity(1), Identity(2)], confidence_level=1 - ALPHA, prefit=True
    )
    model.conformalize(z[:200], Y[:200])
    _, theirs = model.predict_interval(z[200:], symmetric_correction=True)
    ours = conformal.quantile_intervals(z[:200, 0], z[:200, 1], Y[:200], z[200:, 0], z[200:, 1], ALPHA)
    np.testing.assert_allclose(np.stack(ours, axis=1), theirs[:, :, 0], atol=1e-12)


@pytest.mark.parametrize("cv", [LeaveOneOut(), KFold(5)], ids=["jackknife+", "cv+"])
def test_left_out(cv):
    x, y, new = X[:60], Y[:60], X[200:220]
    model = regression.CrossConformalRegressor(Ridge(), confidence_level=1 - ALPHA, method="plus", cv=cv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, theirs = model.fit_conformalize(x, y).predict_interval(new)
    fold, predictions, residual = np.zeros(60, int), [], np.zeros(60)
    for f, (train, test) in enumerate(cv.split(x)):
        fitted = Ridge().fit(x[train], y[train])
        fold[test], residual[test] = f, np.abs(y[test] - fitted.predict(x[test]))
        predictions.append(fitted.predict(new))
    ours = conformal.jackknife_plus(residual, np.array(predictions), ALPHA, fold)
    np.testing.assert_allclose(np.stack(ours, axis=1), theirs[:, :, 0], atol=1e-12)


def test_p_values():
    methods = pytest.importorskip("mapie.risk_control.methods")
    risk = np.linspace(0.001, 0.4, 21)  # of numbers of errors that are not whole: theirs rounds 21.000000000000004 up
    theirs = methods.compute_hoeffding_bentkus_p_value(risk, 150, np.array([0.2]))
    np.testing.assert_allclose(conformal.hoeffding_bentkus(risk, 150, 0.2), theirs[:, 0], atol=1e-9)
