"""R2 against scikit-learn and over any split; shapes that would broadcast are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from deeplab.core.errors import UserError
from deeplab.metrics import R2

ROWS = st.lists(st.tuples(st.integers(-8, 8), st.integers(-8, 8), st.integers(0, 3)), min_size=3, max_size=20).filter(
    lambda rows: len({target for _, target, weight in rows if weight}) > 1
)


def columns(rows):
    return (np.array(column, np.float32) for column in zip(*rows, strict=True))


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(0, 20), st.sampled_from([0.0, 1000.0]))
def test_r2_is_scikit_learns_over_any_cut(rows, cut, center):
    prediction, target, weight = columns(rows)
    dirty = np.where(weight > 0, prediction, np.nan)  # padding may hold anything
    parts = [
        R2.of(jnp.asarray(dirty[part]) + center, jnp.asarray(target[part]) + center, jnp.asarray(weight[part]), center)
        for part in (slice(cut), slice(cut, None))
    ]
    summed = jax.tree.map(lambda a, b: np.float64(a) + np.float64(b), *parts)  # as steps and devices merge
    expected = metrics.r2_score(*(x.astype(float) for x in (target, prediction)), sample_weight=weight)
    assert summed.compute() == pytest.approx(expected, rel=1e-5)
    assert (parts[0] + parts[1]).compute() == pytest.approx(expected, rel=1e-5)


def test_several_targets_are_averaged_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    target, prediction = rng.normal(size=(2, 30, 3)).astype(np.float32) * np.array([1, 10, 100], np.float32)
    expected = metrics.r2_score(target, prediction)
    assert R2.of(jnp.asarray(prediction), jnp.asarray(target)).compute() == pytest.approx(expected, rel=1e-4)


def test_undefined_is_nan():
    ones = jnp.ones(4)
    assert np.isnan(R2.of(ones, 3 * ones).compute())  # a constant target
    assert np.isnan(R2.of(ones, jnp.arange(4.0), 0 * ones).compute())


def test_a_column_against_a_row_is_refused():
    with pytest.raises(UserError, match=r"predictions are \[4, 1\] and targets \[4\]"):
        R2.of(jnp.ones((4, 1)), jnp.ones(4))
