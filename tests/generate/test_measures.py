"""Measures of generated data against closed forms and straightforward computations."""

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial

from deeplab.core.errors import UserError
from deeplab.generate import measures


def data(seed, count=200, size=4, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, size)) @ rng.normal(size=(size, size)) + shift


def test_the_distance_of_normal_laws_is_the_closed_form():
    """Of commuting covariances: sum of (sqrt(a) - sqrt(b))^2 along the common axes."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    a, b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 0.0, 1.0])
    first, second = ((basis * values[None]) @ basis.T for values in (a, b))
    found = measures.frechet(np.zeros(3), first, np.array([1.0, 2.0, 0.0]), second)
    assert found == pytest.approx(
        5 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rel=1e-7
    )  # a root of 0 has half of the digits


def test_fid_is_that_of_the_matrix_root():
    x, y = data(1), data(2, count=150, shift=0.5)
    c, e = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(c @ e).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c + e - 2 * root)
    assert measures.fid(x, y) == pytest.approx(expected, rel=1e-8)
    assert measures.fid(x, x) == pytest.approx(0, abs=1e-9)


def test_fid_needs_no_more_examples_than_features():
    x, y = data(1, count=3, size=6), data(2, count=4, size=6)
    assert 0 < measures.fid(x, y) < np.inf


def test_the_bias_of_few_samples_is_taken_away():
    """Of one law: FID is 0, and what few samples give is all bias; over thirty samples, the line's end is not."""
    rng = np.random.default_rng(0)
    real, samples = rng.normal(size=(50_000, 4)), rng.normal(size=(30, 500, 4))
    biased, unbiased = (np.array([f(real, x) for x in samples]) for f in (measures.fid, measures.fid_infinity))
    assert biased.mean() > 5 * biased.std() / 30**0.5
    assert abs(unbiased.mean()) < 2 * unbiased.std() / 30**0.5


def test_kid_is_the_mean_over_pairs_and_unbiased():
    x, y = data(1, count=7), data(2, count=5, shift=1.0)
    kernel = lambda a, b: (a @ b / 4 + 1) ** 3  # noqa: E731
    within = [np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert measures.kid(x, y) == pytest.approx(sum(within) - 2 * between, rel=1e-10)
    rng = np.random.default_rng(3)
    found = [measures.kid(*rng.normal(size=(2, 20, 2))) for _ in range(2000)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 2000**0.5


@pytest.mark.parametrize("chunk", [7, 1000])
def test_precision_and_recall_are_shares_within_the_balls(chunk):
    x, y = data(1, count=60), data(2, count=50, shift=0.3)

    def share(points, centers):
        radius = np.sort(scipy.spatial.distance.cdist(centers, centers), axis=1)[:, 3]
        return (scipy.spatial.distance.cdist(points, centers) <= radius[None]).any(axis=1).mean()

    found = measures.precision_recall(x, y, chunk=chunk)
    assert found == (pytest.approx(share(y, x)), pytest.approx(share(x, y)))
    assert 0 < found.recall < 1


def test_what_is_half_of_the_data_is_precise_and_recalls_half():
    x = np.random.default_rng(0).normal(size=(400, 2)) + np.repeat([[0.0, 0.0], [50.0, 0.0]], 200, axis=0)
    found = measures.precision_recall(x, x[:200] + 1e-3)
    assert found.precision == 1
    assert found.recall == pytest.approx(0.5, abs=0.02)


def test_the_nearest_training_examples():
    images, training = data(1, count=11).reshape(11, 2, 2), data(2, count=30).reshape(30, 2, 2)
    distances = scipy.spatial.distance.cdist(images.reshape(11, -1), training.reshape(30, -1))
    numbers, apart = measures.nearest(images, training, chunk=4)
    np.testing.assert_array_equal(numbers, distances.argmin(axis=1))
    np.testing.assert_allclose(apart, distances.min(axis=1), rtol=1e-8)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda x: measures.fid(np.zeros(3), x), r"features are \[3\], expected \[N, D\]"),
        (lambda x: measures.kid(x, x[:, :2]), r"\[9, 3\] and \[9, 2\] differ in size"),
        (lambda x: measures.precision_recall(x, x / 0), "features of 9 of 9 examples, such as 0, are NaN"),
        (lambda x: measures.precision_recall(x[:3], x), "3 examples have no neighbor 3; give 4"),
        (lambda x: measures.nearest(x, x[:, :2]), r"\[9, 3\] and \[9, 2\] differ in size"),
        (lambda x: measures.nearest(x, x[:0]), r"features are \[0, 3\], expected \[N, D\] of at least one example"),
        (lambda x: measures.nearest(x[:1] / 0, x), "features of 1 of 1 examples, such as 0, are NaN"),
        (lambda x: measures.fid_infinity(x, x[:2]), "2 generated examples have no two sizes"),
    ],
    ids=["shape", "sizes", "nan", "neighbors", "widths", "empty", "nothing", "line"],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_features_that_tell_nothing(call, told):
    with pytest.raises(UserError, match=told):
        call(np.zeros((9, 3)))
