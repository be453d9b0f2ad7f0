"""Metrics of a whole split, and F1 that merges, against scikit-learn."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from deeplab.core.errors import UserError
from deeplab.metrics import F1, auc, average_precision, f1

LEVELS = st.integers(1, 6)


def rows(width, label):
    row = st.tuples(st.lists(LEVELS, min_size=width, max_size=width), label, st.integers(0, 3))
    return st.lists(row, min_size=6, max_size=24)


def columns(given_rows):
    score, label, weight = (np.array(column, float) for column in zip(*given_rows, strict=True))
    return score / score.sum(axis=1, keepdims=True), label.astype(int), weight


@settings(max_examples=60, deadline=None)
@given(rows(2, st.integers(0, 1)).filter(lambda r: len({label for _, label, weight in r if weight}) == 2))
def test_of_two_classes_the_second_is_positive(given_rows):
    p, label, weight = columns(given_rows)
    for scores in (p, p[:, 1]):
        assert auc(scores, label, weight) == pytest.approx(metrics.roc_auc_score(label, p[:, 1], sample_weight=weight))
        assert average_precision(scores, label, weight) == pytest.approx(
            metrics.average_precision_score(label, p[:, 1], sample_weight=weight)
        )
    expected = metrics.f1_score(label, p.argmax(axis=1), sample_weight=weight, zero_division=0)
    assert f1(p, label, weight) == pytest.approx(expected)
    single = metrics.f1_score(label, p[:, 1] >= 0.5, sample_weight=weight, zero_division=0)
    assert f1(p[:, 1], label, weight) == pytest.approx(single)


@settings(max_examples=60, deadline=None)
@given(rows(3, st.integers(0, 2)).filter(lambda r: len({label for _, label, weight in r if weight}) == 3))
def test_of_more_classes_each_is_compared_with_the_others(given_rows):
    p, label, weight = columns(given_rows)
    one_hot = label[:, None] == np.arange(3)
    expected = metrics.roc_auc_score(label, p, multi_class="ovr", average="macro", sample_weight=weight)
    assert auc(p, label, weight) == pytest.approx(expected)
    expected = metrics.average_precision_score(one_hot, p, average="macro", sample_weight=weight)
    assert average_precision(p, label, weight) == pytest.approx(expected)
    expected = metrics.f1_score(
        label, p.argmax(axis=1), labels=[0, 1, 2], average="macro", sample_weight=weight, zero_division=0
    )
    assert f1(p, label, weight) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(rows(3, st.lists(st.booleans(), min_size=3, max_size=3)))
def test_of_several_labels_their_mean(given_rows):
    p, label, weight = columns(given_rows)
    held = [k for k in range(3) if len(set(label[weight > 0, k].tolist())) == 2]
    areas = [metrics.roc_auc_score(label[:, k], p[:, k], sample_weight=weight) for k in held]
    assert auc(p, label, weight) == pytest.approx(np.mean(areas) if held else np.nan, nan_ok=True)
    told = p >= 0.5
    for average, ours in (
        ("macro", f1(p, label, weight)),
        ("macro", F1.of(jnp.asarray(label), jnp.asarray(told), "macro", jnp.asarray(weight)).compute()),
        ("micro", F1.of(jnp.asarray(label), jnp.asarray(told), "micro", jnp.asarray(weight)).compute()),
    ):
        if weight.any():
            expected = metrics.f1_score(label, told, average=average, sample_weight=weight, zero_division=0)
            assert ours == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(rows(3, st.lists(st.booleans(), min_size=3, max_size=3)), st.integers(0, 24))
def test_f1_is_exact_over_any_cut(given_rows, cut):
    p, label, weight = columns(given_rows)
    arrays = jnp.asarray(label), jnp.asarray(p >= 0.5), jnp.asarray(weight, jnp.float32)
    whole = F1.of(*arrays[:2], "micro", arrays[2])
    parts = [F1.of(*(x[part] for x in arrays[:2]), "micro", arrays[2][part]) for part in (slice(cut), slice(cut, None))]
    assert (parts[0] + parts[1]).compute() == whole.compute()


def test_a_class_that_does_not_occur_is_left_out():
    p, label = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]), np.array([0, 1])
    assert auc(p, label) == average_precision(p, label) == 1.0
    assert np.isnan(auc(p, np.array([0, 0])))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(UserError, match=r"probabilities are \[3, 2\], labels \[3, 3\]"):
        auc(np.ones((3, 2)), np.ones((3, 3)))
