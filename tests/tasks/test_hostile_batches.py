"""Metrics of random, hostile batches: a reference in NumPy, and laws that hold for every task."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from deeplab.tasks import Classification, Forecasting, LanguageModeling, RatingPrediction, Segmentation

B, T, K = 6, 5, 4
KEY = jax.random.key(0)


def classification(rng):
    return rng.normal(size=(B, K)), {"label": rng.integers(0, K, B)}


def segmentation(rng):
    mask = rng.integers(0, 3, (B, T, T))
    mask[rng.random(B) < 0.3] = 2  # nothing but void
    return rng.normal(size=(B, T, T, 2)), {"mask": mask}


def language(rng):
    mask = (rng.random((B, T)) < 0.7) * rng.integers(0, 2, (B, 1))
    return rng.normal(size=(B, T, K)), {"targets": rng.integers(0, K, (B, T)), "mask": mask.astype(np.float32)}


def rating(rng):
    rated = rng.random((B, T)) < rng.choice([0.0, 0.5, 1.0], (B, 1))
    rows = {"rating": rng.integers(-2, 3, (B, T)).astype(np.float32), "known": np.zeros((B, T), np.float32)}
    return 3 * rng.normal(size=(B, T)), rows | {"rated": rated, "given": np.zeros((B, T), bool)}


def forecast(rng):
    return rng.normal(size=(B, T, 2, 1)), {"target": rng.normal(size=(B, T, 2)).astype(np.float32)}


TASKS = {
    "classification": (Classification(), classification),
    "segmentation": (Segmentation(("a", "b"), void=2), segmentation),
    "language": (LanguageModeling(), language),
    "rating": (RatingPrediction(low=-2, high=2), rating),
    "forecast": (Forecasting(), forecast),
}


@functools.cache
def program(name):
    task = TASKS[name][0]
    inputs = dict.fromkeys((*task.fields, "tokens"), 0)
    return jax.jit(lambda out, batch: task.metrics(lambda *_, **__: (out, {}), inputs | batch, KEY))


def drawn(name, seed):
    """Outputs and a batch with weights of 0, fractions and large ones; rows of weight 0 hold garbage."""
    rng = np.random.default_rng(seed)
    outputs, batch = TASKS[name][1](rng)
    weight = rng.choice([0.0, 0.25, 1.0, 3.0], B).astype(np.float32)
    outputs = (outputs * rng.choice([1.0, 30.0])).astype(np.float32)
    outputs[weight == 0] = rng.choice([np.nan, np.inf, 1e30])
    return outputs, batch | {"weight": weight}


def told(name, outputs, batch):
    return program(name)(outputs, batch)


def values(metrics):
    return {name: metric.compute() for name, metric in metrics.items()}


def same(found, expected):
    assert found == {name: pytest.approx(x, rel=2e-5, abs=1e-6, nan_ok=True) for name, x in expected.items()}


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_parts_merge_in_any_order_and_garbage_of_weight_0_counts_nowhere(name, seed):
    outputs, batch = drawn(name, seed)
    whole = values(told(name, outputs, batch))
    rng = np.random.default_rng(seed)
    order, first = rng.permutation(B), rng.random(B) < 0.5
    same(values(told(name, outputs[order], {k: x[order] for k, x in batch.items()})), whole)
    parts = [told(name, outputs, batch | {"weight": batch["weight"] * part}) for part in (first, ~first)]
    same({k: (parts[0][k] + parts[1][k]).compute() for k in whole}, whole)
    clean = np.where((batch["weight"] == 0).reshape(-1, *[1] * (outputs.ndim - 1)), 0, outputs).astype(np.float32)
    same(values(told(name, clean, batch)), whole)
    if (batch["weight"] > 0).any() and name == "classification":
        broken = outputs.copy()
        broken[np.argmax(batch["weight"] > 0)] = np.nan
        assert all(np.isnan(x) for x in values(told(name, broken, batch)).values())


def mean(x, weight):
    counted = weight != 0
    return np.sum(x[counted] * weight[counted]) / np.sum(weight) if counted.any() else np.nan


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_metrics_are_their_definitions(seed):
    outputs, batch = drawn("classification", seed)
    weight, rows = batch["weight"], np.arange(B)
    with np.errstate(invalid="ignore"):
        losses = -log_softmax(outputs.astype(np.float64), axis=-1)[rows, batch["label"]]
    right = (outputs.argmax(axis=-1) == batch["label"]).astype(np.float64)
    same(
        values(told("classification", outputs, batch)), {"loss": mean(losses, weight), "accuracy": mean(right, weight)}
    )

    outputs, batch = drawn("language", seed)
    each = batch["mask"] * batch["weight"][:, None]
    with np.errstate(invalid="ignore"):
        logs = log_softmax(outputs.astype(np.float64), axis=-1)
    losses = -np.take_along_axis(logs, batch["targets"][..., None], axis=-1)[..., 0]
    # A log-probability is a difference of logits in float32: where it is small, what is left is their rounding.
    rounding = 4 * float(np.finfo(np.float32).eps * np.abs(outputs[np.isfinite(outputs)]).max(initial=0.0))
    assert values(told("language", outputs, batch))["loss"] == pytest.approx(
        mean(losses.ravel(), each.ravel()), rel=2e-5, abs=rounding, nan_ok=True
    )

    outputs, batch = drawn("rating", seed)
    each = batch["rated"] * batch["weight"][:, None]
    error = np.clip(outputs, -2, 2).astype(np.float64) - batch["rating"]
    found = values(told("rating", outputs, batch))
    assert found["mae"] == pytest.approx(mean(np.abs(error).ravel(), each.ravel()), rel=2e-5, nan_ok=True)
    assert found["rmse"] == pytest.approx(mean(error.ravel() ** 2, each.ravel()) ** 0.5, rel=2e-5, nan_ok=True)
