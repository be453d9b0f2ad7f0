"""Measures of features equal their definitions, and find what was put into the features."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.representation import linear

RNG = np.random.default_rng(0)
X, Q = RNG.normal(size=(300, 6)) + 3, RNG.normal(size=(40, 6)) + 3
LABEL = RNG.integers(0, 2, 300) * 5 + 2


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("chunk", [700, 2**26])
def test_neighbors_are_scikit_learns(metric, chunk, monkeypatch):
    monkeypatch.setattr("deeplab.representation.knn._CHUNK", chunk)
    theirs = NearestNeighbors(n_neighbors=5, algorithm="brute", metric=metric if metric == "cosine" else "euclidean")
    distances, indices = theirs.fit(X).kneighbors(Q)
    found = dl.representation.neighbors(X, Q, k=5, metric=metric)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)
    own = dl.representation.neighbors(X, k=5, metric=metric)
    np.testing.assert_array_equal(own.indices, theirs.kneighbors(n_neighbors=5)[1])


@pytest.mark.parametrize("apart", [1e5, 1e9])
def test_neighbors_of_points_far_apart_are_exact(apart):
    """Whose squares leave a product no digits for the distances within a cluster."""
    rng = np.random.default_rng(3)
    points, queries = (rng.normal(size=(n, 8)) + apart * (np.arange(n) % 2)[:, None] for n in (400, 30))
    distances = np.linalg.norm(queries[:, None] - points[None], axis=-1)
    found = dl.representation.neighbors(points, queries, k=5)
    np.testing.assert_array_equal(found.indices, distances.argsort(axis=1)[:, :5])
    np.testing.assert_array_equal(found.distances, np.sort(distances, axis=1)[:, :5])


def test_of_many_copies_the_first_are_the_neighbors():
    found = dl.representation.neighbors(np.repeat(X[:10], 30, axis=0), X[:10], k=3)
    np.testing.assert_array_equal(found.indices, 30 * np.arange(10)[:, None] + np.arange(3))


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_votes_are_scikit_learns(metric):
    """Of an odd number of neighbors of two classes, so that none are equal."""
    theirs = KNeighborsClassifier(7, algorithm="brute", metric=metric if metric == "cosine" else "euclidean")
    expected = theirs.fit(X, LABEL).predict(Q)
    np.testing.assert_array_equal(dl.representation.knn_predict(X, LABEL, Q, k=7, metric=metric), expected)


def test_of_equal_votes_the_nearest_decides_and_a_low_temperature_is_one_neighbor():
    points, labels = np.array([[1.0], [2.0], [4.0], [5.0]]), np.array([3, 1, 1, 3])
    query = np.zeros((1, 1))
    assert dl.representation.knn_predict(points, labels, query, k=4, metric="l2").tolist() == [3]
    assert dl.representation.knn_predict(points, labels, query, k=3, metric="l2").tolist() == [1]
    given = dl.representation.knn_predict(points, labels, query, k=3, metric="l2", temperature=1e-3)
    assert given.tolist() == [3]


def test_too_few_points_are_told():
    with pytest.raises(UserError, match=r"5 neighbors of features \[4, 2\] are sought among \[4, 2\]; expected 6"):
        dl.representation.neighbors(np.zeros((4, 2)), k=5)
    with pytest.raises(UserError, match="rows of one size"):
        dl.representation.linear_probe((X, LABEL), (Q[:, :3], LABEL[:40]))


@pytest.mark.parametrize("penalty", [0.1, 100.0])
def test_ridge_is_scikit_learns(penalty):
    y = np.eye(3)[RNG.integers(0, 3, len(X))]
    ours, theirs = linear.ridge((penalty,))(X, y), Ridge(penalty).fit(X, y)
    np.testing.assert_allclose(ours(Q), theirs.predict(Q), rtol=1e-9)


def test_ridge_chooses_the_penalty_of_the_least_error_of_the_examples_left_out():
    x, y = X[:30, :5], np.eye(2)[(X[:30, 0] > 3).astype(int)]
    penalties = (1e-2, 1.0, 10.0, 1e3)

    def left_out(penalty):
        keep = [np.arange(30) != i for i in range(30)]
        fits = [Ridge(penalty).fit(x[k], y[k]).predict(x[~k]) for k in keep]
        return np.sum((np.concatenate(fits) - y) ** 2)

    best = min(penalties, key=left_out)
    np.testing.assert_allclose(linear.ridge(penalties)(x, y)(x), linear.ridge((best,))(x, y)(x))


def test_softmax_is_scikit_learns():
    label = (X[:, 0] + RNG.normal(size=300) > 3).astype(int)
    penalty = 1e-2
    theirs = LogisticRegression(C=1 / (penalty * 300), tol=1e-10, max_iter=1000).fit(X, label)
    ours = linear.softmax(penalty, steps=100)(X, np.eye(2)[label])(Q)
    # Two columns share the weight that theirs has in one: half of the penalty.
    twice = LogisticRegression(C=2 / (penalty * 300), tol=1e-10, max_iter=1000).fit(X, label)
    np.testing.assert_allclose(ours[:, 1] - ours[:, 0], twice.decision_function(Q), rtol=2e-3, atol=2e-3)
    assert not np.allclose(ours[:, 1] - ours[:, 0], theirs.decision_function(Q), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("fit", [linear.ridge(), linear.softmax(steps=50)], ids=["ridge", "softmax"])
def test_a_probe_finds_what_is_there_and_its_control_nothing(fit):
    digits = dl.data.Images("digits", num_steps=1)
    train, test = (digits.open(split).arrays for split in ("train", "test"))
    found = dl.representation.linear_probe((train["image"], train["label"]), (test["image"], test["label"]), fit)
    assert found.accuracy > 0.92
    assert abs(found.control - 0.1) < 0.06
    assert found.chance == np.bincount(test["label"]).max() / len(test["label"])


def _hsic(K, L):
    """Song et al. 2012, equation 5."""
    n, one = len(K), np.ones(len(K))
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    last = 2 / (n - 2) * one @ K @ L @ one
    return (np.trace(K @ L) + one @ K @ one * (one @ L @ one) / ((n - 1) * (n - 2)) - last) / (n * (n - 3))


def test_cka_is_its_definition():
    y = np.tanh(X @ RNG.normal(size=(6, 9)))
    K, L = X @ X.T, y @ y.T
    expected = _hsic(K, L) / np.sqrt(_hsic(K, K) * _hsic(L, L))
    np.testing.assert_allclose(dl.representation.cka(X, y), expected, rtol=1e-9)
    center = np.eye(300) - 1 / 300
    K, L = center @ K @ center, center @ L @ center
    biased = np.sum(K * L) / np.sqrt(np.sum(K * K) * np.sum(L * L))
    np.testing.assert_allclose(dl.representation.cka(X, y, debiased=False), biased, rtol=1e-9)


def test_cka_of_a_turned_representation_is_one_and_of_noise_zero():
    turn = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    assert dl.representation.cka(X, -7 * X @ turn + 2) == pytest.approx(1, abs=1e-12)
    noise = [RNG.normal(size=(60, 200)) for _ in range(2)]
    assert abs(dl.representation.cka(*noise)) < 0.1 < 0.7 < dl.representation.cka(*noise, debiased=False)
    with pytest.raises(UserError, match="expected the same 4 or more"):
        dl.representation.cka(X, X[:-1])


def _swiss_roll(u, v):
    turn = 1.5 * np.pi * (1 + 2 * u)
    return np.stack([turn * np.cos(turn), 21 * v, turn * np.sin(turn)], axis=1)


@pytest.mark.parametrize(
    ("points", "dimension"),
    [
        (lambda u: u[:, :1] @ RNG.normal(size=(1, 10)), 1),
        (lambda u: u[:, :2] @ RNG.normal(size=(2, 20)), 2),
        (lambda u: _swiss_roll(u[:, 0], u[:, 1]), 2),
        (lambda u: np.concatenate([np.cos(2 * np.pi * u), np.sin(2 * np.pi * u)], axis=1), 5),
    ],
    ids=["line", "plane", "swiss roll", "torus"],
)
def test_two_nn_finds_the_dimension_of_a_manifold(points, dimension):
    found = dl.representation.two_nn(points(np.random.default_rng(1).uniform(size=(2000, 5))))
    assert found == pytest.approx(dimension, rel=0.08)


def test_a_constant_is_no_feature_whatever_it_is():
    """The deviation of 0.3 in turn is the rounding of its mean, by which nothing is to be divided."""
    rng = np.random.default_rng(4)
    x, label = rng.normal(size=(300, 4)), np.arange(300) % 2
    x[:, 0] += 3 * label
    with_constant = np.concatenate([x, np.full((300, 1), 0.3)], axis=1)
    test = with_constant[:100] + np.array([0, 0, 0, 0, 1e-4])  # constant in training, and a little else in the test
    for fit in (linear.ridge(), linear.softmax(steps=50)):
        plain = dl.representation.linear_probe((x, label), (x[:100], label[:100]), fit)
        found = dl.representation.linear_probe((with_constant, label), (test, label[:100]), fit)
        assert found.accuracy == pytest.approx(plain.accuracy, abs=0.03)
    for constant in (0.1, 1.0, 1e-12):
        assert np.isnan(dl.representation.cka(np.full((300, 3), constant), x))
    assert dl.representation.cka(1e-12 * x, x) == pytest.approx(1)


def test_two_nn_without_the_copies():
    x = np.random.default_rng(2).uniform(size=(500, 2))
    twice = np.concatenate([x, x[:50]])
    once = dl.representation.two_nn(x)
    assert dl.representation.two_nn(twice) == pytest.approx(once)
    assert dl.representation.two_nn(np.concatenate([x, x[:400]])) == pytest.approx(once)
    with pytest.raises(UserError, match="4 of 40 points differ from one another; expected 10 or more"):
        dl.representation.two_nn(np.concatenate([x[:4]] * 10))


@pytest.mark.filterwarnings("error")
def test_two_nn_of_a_grid_is_refused():
    """Whose points have several nearest neighbors: all ratios of distances are 1."""
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(9)), axis=-1).reshape(-1, 2)
    with pytest.raises(UserError, match="81 of 81 points have two neighbors at the same distance"):
        dl.representation.two_nn(grid)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: dl.representation.knn_predict(X[:50], LABEL, Q), r"\[50, 6\] have labels \[300\], expected \[50\]"),
        (lambda: dl.representation.knn_predict(X, LABEL, np.full((2, 6), np.nan)), "of 2 of 2 examples, such as 0"),
        (lambda: dl.representation.knn_predict(X, LABEL, Q, temperature=0.0), "temperature is 0.0, expected above 0"),
        (lambda: dl.representation.knn_predict(X[:0], LABEL[:0], Q), r"features are \[0, 6\]; expected one example"),
        (lambda: dl.representation.neighbors(X, Q[:0]), r"features are \[0, 6\]; expected one example"),
        (lambda: dl.representation.linear_probe((X, LABEL), (X[:0], LABEL[:0])), r"features are \[0, 6\]; expected"),
        (lambda: dl.representation.cka(X[:, :0], X), r"features are \[300, 0\]; expected one example"),
        (lambda: dl.representation.linear_probe((X, LABEL[:, None]), (X, LABEL)), r"have labels \[300, 1\]"),
        (lambda: dl.representation.few_shot((X, LABEL), (X, LABEL), (1, 10)), "shares is 10, expected above 0 and up"),
    ],
    ids=["more_labels", "nan", "temperature", "no_points", "no_queries", "no_tests", "no_numbers", "column", "percent"],
)
def test_what_would_be_another_figure_is_told(call, told):
    with pytest.raises(UserError, match=told):
        call()
