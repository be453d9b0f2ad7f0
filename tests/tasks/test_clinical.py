"""The prior in the loss, the offsets in the decision, and metrics that merge, against Optax and scikit-learn."""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from deeplab.core.errors import UserError
from deeplab.metrics.confusion import Confusion, PredictiveValue, Sensitivity, macro_f1
from deeplab.robust import calibration
from deeplab.tasks import Clinical

KEY = jax.random.key(0)
LOGITS = jax.random.normal(jax.random.key(1), (60, 3)) * 2
LABEL = jnp.arange(60) % 3
BATCH = {"x": LOGITS, "label": LABEL, "weight": jnp.ones(60), "record": jnp.arange(60) // 6}
PRIOR = (80, 15, 5)
TASK = Clinical(("a", "b", "c"), PRIOR, offsets=(0.0, 0.5, -0.5), calibrate=calibration.summary)


def _apply(x, *, train=False, key=None):
    return x, {}


def test_without_a_prior_it_is_plain_cross_entropy():
    loss = Clinical(("a", "b", "c")).loss(_apply, BATCH, KEY).loss.compute()
    assert loss == pytest.approx(float(optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABEL).mean()), rel=1e-6)


def test_the_prior_is_added_to_the_logits_and_not_to_the_decision():
    out = TASK.predict(_apply, BATCH, KEY)
    frequencies = np.array(PRIOR) / sum(PRIOR)
    np.testing.assert_allclose(out["log_probs"], jax.nn.log_softmax(LOGITS + np.log(frequencies)[None]), rtol=1e-5)
    np.testing.assert_array_equal(out["prediction"], np.argmax(LOGITS + np.array([[0.0, 0.5, -0.5]]), axis=1))
    taken = np.take_along_axis(np.asarray(out["log_probs"]), np.asarray(out["prediction"])[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(out["probability"], np.exp(taken), rtol=1e-5)
    assert TASK.loss(_apply, BATCH, KEY).loss.compute() == pytest.approx(float(out["loss"].mean()), rel=1e-5)
    np.testing.assert_array_equal(TASK.score(_apply(*TASK.inputs(BATCH))[0], BATCH), LOGITS[jnp.arange(60), LABEL])


def test_adjustment_and_offsets_may_be_traced():
    def measured(value):
        task = Clinical(("a", "b", "c"), PRIOR, adjustment=value, offsets=(0.0, value, 0.0))
        return task.loss(_apply, BATCH, KEY).loss.total, task.predict(_apply, BATCH, KEY)["prediction"]

    together = jax.vmap(measured)(jnp.array([0.0, 0.7]))
    for i, value in enumerate((0.0, 0.7)):
        for ours, alone in zip(together, measured(value), strict=True):
            np.testing.assert_allclose(ours[i], alone, rtol=1e-5)


def test_a_padded_batch_is_the_unpadded_one():
    weight = jnp.where(jnp.arange(60) < 50, 1.0, 0.0)
    padded = TASK.metrics(_apply, BATCH | {"weight": weight, "x": LOGITS.at[50:].set(jnp.nan)}, KEY)
    short = TASK.metrics(_apply, {name: x[:50] for name, x in BATCH.items()}, KEY)
    expected = {k: pytest.approx(m.compute(), rel=1e-6) for k, m in short.items()}
    assert {k: m.compute() for k, m in padded.items()} == expected


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 2), min_size=1, max_size=30), st.integers(1, 29))
@settings(max_examples=40, deadline=None)
def test_shares_merge_and_are_scikit_learns(pairs, cut):
    label, taken = np.array(pairs).T
    options = {"labels": [0, 1, 2], "zero_division": 0.0}
    expected = {macro_f1: f1_score(label, taken, average="macro", **options)}
    expected |= {Sensitivity(k): x for k, x in enumerate(recall_score(label, taken, average=None, **options))}
    expected |= {PredictiveValue(k): x for k, x in enumerate(precision_score(label, taken, average=None, **options))}
    pieces = [(label[:cut], taken[:cut]), (label[cut:], taken[cut:])]
    counts = [jnp.asarray(np.histogram2d(*p, bins=3, range=[[0, 3], [0, 3]])[0]) for p in pieces]
    for statistic, value in expected.items():
        merged = functools.reduce(operator.add, [Confusion(c, statistic) for c in counts])
        assert merged.compute() == pytest.approx(value)


def test_counts_are_by_label_and_prediction():
    made = Confusion.of(jnp.array([0, 0, 1, 2]), jnp.array([0, 1, 1, 0]), 3, macro_f1, jnp.array([1.0, 1, 1, 0]))
    np.testing.assert_array_equal(made.counts, [[1, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_a_summary_tells_of_each_class_but_the_first():
    predictions = {k: np.asarray(v) for k, v in TASK.predict(_apply, BATCH, KEY).items()}
    assert "record" in predictions
    told = TASK.summarize(predictions)
    assert {"b_auroc", "c_auprc_low", "b_sensitivity_at_95", "ece", "ece_scaled", "temperature"} <= set(told)
    assert not any(name.startswith("a_") for name in told)
    assert told["b_auroc_low"] <= told["b_auroc"] <= told["b_auroc_high"]
    alone = {k: v for k, v in predictions.items() if k != "record"}
    assert TASK.summarize(alone)["b_auroc"] == told["b_auroc"]
    assert TASK.summarize(alone)["b_auroc_low"] != told["b_auroc_low"]


def test_what_is_not_defined_is_left_out():
    predictions = {k: np.asarray(v)[LABEL == 0] for k, v in TASK.predict(_apply, BATCH, KEY).items()}
    told = TASK.summarize(predictions)
    assert "b_auroc" not in told
    assert all(np.isfinite(value) for value in told.values())


def test_numbers_of_classes_may_be_arrays():
    """The truth value of an array is ambiguous."""
    task = Clinical(("a", "b", "c"), np.array(PRIOR), offsets=np.array(TASK.offsets))
    made, expected = (each.predict(_apply, BATCH, KEY) for each in (task, TASK))
    for name in ("log_probs", "prediction"):
        np.testing.assert_array_equal(made[name], expected[name])
    with pytest.raises(UserError, match="prior is -1"):
        Clinical(("a", "b"), np.array([2, -1]))


def test_a_class_that_does_not_occur_is_no_nan():
    given = dataclasses.replace(TASK, prior=(3, 1, 0))
    equal = dataclasses.replace(given, adjustment=0.0).predict(_apply, BATCH, KEY)["log_probs"]
    np.testing.assert_allclose(equal, jax.nn.log_softmax(LOGITS), rtol=1e-6)
    log_probs = given.predict(_apply, BATCH, KEY)["log_probs"]
    assert np.isneginf(log_probs[:, 2]).all()
    assert np.isfinite(log_probs[:, :2]).all()
    with pytest.raises(UserError, match=r"prior is \(0, 0, 0\), expected class frequencies, of which one at least"):
        dataclasses.replace(TASK, prior=(0, 0, 0))


@pytest.mark.parametrize("offsets", [(0.5,), (0.5, 0.1), np.ones(4)])
def test_offsets_are_as_many_as_classes(offsets):
    """One broadcast to all classes, where it changes nothing."""
    with pytest.raises(UserError, match=rf"{len(offsets)} offsets for 3 classes; give one for each"):
        Clinical(("a", "b", "c"), offsets=offsets).predict(_apply, BATCH, KEY)


def test_a_prior_of_other_classes_is_refused():
    with pytest.raises(UserError, match="prior has 2 classes, and the model 3 outputs"):
        Clinical(("a", "b", "c"), (1.0, 2.0)).loss(_apply, BATCH, KEY)
