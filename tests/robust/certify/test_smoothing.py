"""Randomized smoothing against what is known of linear classifiers, and bounds of probabilities against scipy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from deeplab.core.errors import UserError
from deeplab.robust.certify import Smoothed, binomial, certified_curve, smoothed, smoothed_predictions, votes

W = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1)), jnp.float32)

KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Linear:
    """Two classes, of which the second is said where w x > 0."""

    params: object

    def __call__(self, x, params=None):
        z = x @ (self.params if params is None else params)
        return jnp.concatenate([-z, z], axis=-1), {}


def counted(f, dtype=jnp.float32):
    return votes(f, jnp.ones((2, 4), dtype), jnp.arange(2), KEY, deviation=1.0, draws=4)


def batch_of(x, **fields):
    size = len(x)
    return {"image": x, "id": jnp.arange(size), "weight": jnp.ones(size), "label": jnp.zeros(size, int)} | fields


def test_bounds_of_a_probability_are_scipy_s():
    k, n = np.array([0, 1, 5, 50, 99, 100, 99_000]), np.array([100, 100, 100, 100, 100, 100, 100_000])
    for alpha in (0.001, 0.05):
        expected = np.where(k == 0, 0, stats.beta.ppf(alpha, np.maximum(k, 1), n - k + 1))
        np.testing.assert_allclose(binomial.lower_bound(k, n, alpha), expected, atol=1e-6)
    for one, all_, found in zip(k, n, np.transpose(binomial.interval(k, n, 0.95)), strict=True):
        told = stats.binomtest(int(one), int(all_)).proportion_ci(0.95, "exact")
        np.testing.assert_allclose(found, (told.low, told.high), atol=1e-6)


def test_the_radius_of_a_linear_classifier_is_its_margin():
    """|w x| / |w|; the estimate is not above it, and below it by no more than the bound of 20,000 draws costs."""
    sigma, draws = 0.5, 20_000
    x = jax.random.normal(jax.random.key(1), (40, 4)) / 2
    found = smoothed(Linear(W), [batch_of(x)], KEY, deviation=sigma, draws=draws, chunk=1000)
    exact = np.abs(np.asarray(x @ W)[:, 0]) / np.linalg.norm(W)
    said = found.prediction >= 0
    assert said.sum() > 35
    np.testing.assert_array_equal(found.prediction[said], np.asarray((x @ W)[:, 0] > 0)[said])
    p = stats.norm.cdf(exact / sigma)
    lowest = binomial.lower_bound(np.floor(draws * (p - 4 * np.sqrt(p * (1 - p) / draws))), draws, 0.001)
    least = sigma * stats.norm.ppf(np.maximum(lowest, 0.5))
    assert np.all(found.radius <= exact + 1e-6)
    assert np.all(found.radius[said] >= least[said] - 1e-6)


def test_outputs_that_are_nan_say_no_class():
    found = votes(lambda x: x / jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2)), jnp.arange(1), KEY, deviation=0.1, draws=4)
    nothing = votes(lambda x: x * jnp.nan, jnp.zeros((1, 2)), jnp.arange(1), KEY, deviation=0.1, draws=4)
    assert (int(found.sum()), int(nothing.sum())) == (4, 0)  # infinite ones do


def test_votes_depend_on_neither_chunk_nor_batch():
    x = jax.random.normal(jax.random.key(1), (3, 4))
    f = lambda x: Linear(W)(x)[0]  # noqa: E731
    count = lambda x, ids, chunk: votes(f, x, ids, KEY, deviation=1.0, draws=50, chunk=chunk)  # noqa: E731
    whole = count(x, jnp.arange(3), 50)
    np.testing.assert_array_equal(whole.sum(axis=1), 50)
    np.testing.assert_array_equal(count(x, jnp.arange(3), 7), whole)
    np.testing.assert_array_equal(count(x[2:], jnp.array([2]), 16), whole[2:])
    assert not np.array_equal(count(x[2:], jnp.array([5]), 50), whole[2:])


def test_memory_does_not_grow_with_the_draws():
    x = jnp.zeros((8, 64))
    w = jnp.ones((64, 2))

    def bytes_of(draws):
        run = jax.jit(lambda x: votes(lambda x: x @ w, x, jnp.arange(8), KEY, deviation=1.0, draws=draws))
        return run.lower(x).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(3200) <= 1.1 * bytes_of(320)


def test_it_abstains_where_two_classes_are_alike_and_leaves_out_padding():
    x = jnp.stack([jnp.zeros(4), W[:, 0], -W[:, 0], W[:, 0]])
    batch = batch_of(x, weight=jnp.array([1.0, 1, 1, 0]), id=jnp.array([7, 3, 9, 0]))
    for kind in (smoothed, smoothed_predictions):
        found = kind(Linear(W), [batch, batch], KEY, deviation=0.1, draws=200)
        assert found.id.tolist() == [7, 3, 9] * 2
        assert found.prediction.tolist() == [-1, 1, 0] * 2
    assert smoothed(Linear(W), [batch], KEY, deviation=0.1, draws=200).radius[0] == 0


def test_a_curve_counts_who_is_right_so_far():
    label, said = np.array([0, 1, 2, 1]), np.array([0, 1, 1, -1])
    found = Smoothed(np.arange(4), label, said, np.array([0.5, 0.25, 0.75, 0.0]), np.ones(4))
    curve = certified_curve(found, [0.0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(curve.accuracy, [0.5, 0.5, 0.25, 0])
    assert np.all((curve.low <= curve.accuracy) & (curve.accuracy <= curve.high))
    assert str(curve).startswith("certified accuracy 50.0 % at 0, 50.0 % at 0.25,")
    assert curve.abstained == 0.25


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smoothed(Linear(W), [], KEY, deviation=0.0), r"deviation is 0.0, expected above 0"),
        (lambda: smoothed(Linear(W), [], KEY, deviation=0.1, alpha=1.0), r"alpha is 1.0, expected above 0"),
        (lambda: smoothed(Linear(W), [], KEY, deviation=0.1), "there is no example to smooth"),
        (lambda: smoothed(Linear(W), [batch_of(W.T)], KEY, deviation=64.0), "drowns the inputs.*64 / 255"),
        (lambda: smoothed(lambda x: x @ W, [batch_of(W.T)], KEY, deviation=0.1), "parameters are not known"),
        (lambda: smoothed(Linear(W), [{"image": W.T}], KEY, deviation=0.1), "no field 'id' but"),
        (lambda: smoothed(Linear(W), [batch_of(W.T) | {"label": np.eye(2)}], KEY, deviation=0.1), "number of a class"),
        (lambda: counted(lambda x: x @ W), "the model gives one output, expected a logit for each of two classes"),
        (lambda: counted(lambda x: x[:, 0]), r"expected one array \[8, K\]"),
        (lambda: counted(lambda x: x, jnp.int32), "the input is of int32, which noise does not fit"),
        (lambda: binomial.lower_bound(5, 4, 0.1), "5 successes of 4 trials"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(UserError, match=message):
        call()
    said = dataclasses.replace(
        smoothed(Linear(W), [batch_of(W.T)], KEY, deviation=0.1, draws=100), label=np.array([-1])
    )
    with pytest.raises(UserError, match="there is no accuracy without labels"):
        certified_curve(said, [0.0])
    with pytest.raises(UserError, match=r"radii is -0\.1, expected 0 or more"):
        certified_curve(said, [-0.1])
