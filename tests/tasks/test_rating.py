"""The rating task: each rating counts the same, evaluations clip, and lists offer what was not rated."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from deeplab.tasks import RatingPrediction, RootMean

KEY = jax.random.key(0)

B, V = 5, 12
TASK = RatingPrediction(fields=("user",), num_best=3)
TOLD = 3 + 2.5 * jax.random.normal(jax.random.key(0), (B, V))


def apply(user, train=False, key=None):
    return TOLD[user], {}


def batch(rows, seed=0, weight=None):
    rng = np.random.default_rng(seed)
    rated = rng.integers(0, 6, (B, V)) * (rng.random((B, V)) < 0.7)
    rated[:, 0] = 0
    hidden = rng.random((B, V)) < 0.5
    rows = np.array(rows)
    weight = np.ones(len(rows)) if weight is None else weight
    arrays = {"user": rows, "known": (rated * ~hidden)[rows], "rating": (rated * hidden)[rows], "weight": weight}
    return {
        name: jnp.asarray(np.asarray(a).astype(np.float32 if name == "weight" else np.int32))
        for name, a in arrays.items()
    }


metrics = jax.jit(functools.partial(TASK.metrics, apply, key=KEY))


@given(st.integers(0, 1000), st.integers(0, B))
@settings(max_examples=20, deadline=None)
def test_metrics_are_scikit_learns_over_any_split(seed, cut):
    rows = [*range(B), 0, 0, 0]
    first, second = rows[:cut] + [0] * (B - cut), [*range(cut, B), *[0] * cut]
    parts = [
        metrics(batch(first, seed, [1] * cut + [0] * (B - cut))),
        metrics(batch(second, seed, [1] * (B - cut) + [0] * cut)),
    ]
    merged = {name: operator.add(parts[0][name], parts[1][name]).compute() for name in parts[0]}
    rating = np.asarray(batch(range(B), seed)["rating"])
    truth, told = rating[rating > 0], np.clip(np.asarray(TOLD), 1, 5)[rating > 0]
    assert merged["rmse"] == pytest.approx(root_mean_squared_error(truth, told), rel=1e-5)
    assert merged["mae"] == pytest.approx(mean_absolute_error(truth, told), rel=1e-5)
    assert merged["loss"] == pytest.approx(merged["rmse"] ** 2, rel=1e-5)


def test_training_does_not_clip():
    data = batch(range(B))
    rating = np.asarray(data["rating"])
    expected = np.mean((np.asarray(TOLD) - rating)[rating > 0] ** 2)
    loss = TASK.loss(apply, data, jax.random.key(0)).loss
    assert loss.compute() == pytest.approx(expected, rel=1e-5)
    assert expected > metrics(data)["loss"].compute()


def test_lists_offer_what_was_not_rated():
    data = batch(range(B))
    out = TASK.predict(apply, data, KEY)
    for row in range(B):
        known = np.asarray(data["known"][row])
        best = sorted((i for i in range(1, V) if not known[i]), key=lambda i: -float(TOLD[row, i]))[:3]
        assert out["top"][row].tolist() == best
        np.testing.assert_allclose(out["top_rating"][row], np.clip(np.asarray(TOLD)[row, best], 1, 5))
        assert int(out["num_known"][row]) == (known > 0).sum()


def test_a_root_is_taken_after_the_merge():
    assert (RootMean(8.0, 1.0) + RootMean(0.0, 1.0)).compute() == 2.0
    assert np.isnan(RootMean(0.0, 0.0).compute())
