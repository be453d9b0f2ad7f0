"""Class weights and the focal loss against PyTorch; metrics of a whole split that a user lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.tasks import Classification

torch = pytest.importorskip("torch")
KEY = jax.random.key(0)
LOGITS = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32) * 2
WEIGHTS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=3, max_size=3).filter(all)


def _apply(x, *, train=False, key=None):
    return x, {}


def batch(label, weight=None, logits=LOGITS):
    weight = np.ones(len(logits), np.float32) if weight is None else np.asarray(weight, np.float32)
    return {"image": jnp.asarray(logits), "label": jnp.asarray(label), "weight": jnp.asarray(weight)}


@settings(max_examples=20, deadline=None)
@given(WEIGHTS, st.lists(st.integers(0, 2), min_size=6, max_size=6), st.sampled_from([0.0, 0.2]))
def test_weighted_loss_is_pytorchs(weights, label, smoothing):
    task = Classification(label_smoothing=smoothing, class_weights=weights)
    ours = task.loss(_apply, batch(label), KEY).loss.compute()
    criterion = torch.nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=smoothing)
    assert ours == pytest.approx(float(criterion(torch.tensor(LOGITS), torch.tensor(label))), rel=1e-5)


def test_examples_of_weight_0_are_left_out_of_both_sums():
    task, label = Classification(class_weights=(1.0, 2.0, 5.0)), np.array([0, 1, 2, 2, 1, 0])
    dirty = np.where(np.arange(6)[:, None] < 4, LOGITS, np.nan)
    padded = task.loss(_apply, batch(label, [1, 1, 1, 1, 0, 0], dirty), KEY).loss
    short = task.loss(_apply, batch(label[:4], logits=LOGITS[:4]), KEY).loss
    assert (padded.compute(), float(padded.count)) == (short.compute(), 1 + 2 + 5 + 5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_and_its_gradient(gamma):
    label = np.array([0, 1, 2, 2, 1, 0])
    x = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    p = torch.softmax(x, 1)[torch.arange(6), torch.tensor(label)]
    expected = (-((1 - p) ** gamma) * torch.log(p)).mean()
    expected.backward()
    task = Classification(gamma=gamma)
    loss = lambda x: task.loss(_apply, batch(label, logits=x), KEY).loss.total / 6  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(LOGITS))
    assert float(value) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, x.grad, rtol=1e-4, atol=1e-6)


def test_focal_loss_of_gamma_0_is_the_plain_one_and_a_certain_prediction_has_a_gradient():
    label = np.array([0, 1, 2, 2, 1, 0])
    losses = [Classification(gamma=g).loss(_apply, batch(label), KEY).loss.total for g in (0.0, jnp.array(0.0))]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    sure = jnp.array([[1000.0, 0.0, 0.0]])
    gradient = jax.grad(lambda x: Classification(gamma=0.5).loss(_apply, batch([0], logits=x), KEY).loss.total)(sure)
    assert np.isfinite(gradient).all()


def test_evaluation_is_unweighted():
    plain, weighted = Classification(), Classification(class_weights=(1.0, 2.0, 5.0), gamma=2.0)
    label = np.array([0, 1, 2, 2, 1, 0])
    assert plain.metrics(_apply, batch(label), KEY)["loss"].compute() == (
        weighted.metrics(_apply, batch(label), KEY)["loss"].compute()
    )


def test_metrics_of_the_split_are_those_that_are_listed():
    def share(probability, label, weight):
        return float(np.average(np.argmax(probability, axis=1) == label, weights=weight))

    task = Classification(extra_metrics=(dl.metrics.auc, dl.metrics.f1, dl.metrics.average_precision, share))
    label, weight = np.array([0, 1, 2, 2, 1, 0]), np.array([1, 1, 2, 0, 1, 3])
    out = jax.device_get(task.predict(_apply, batch(label, weight), KEY))
    told = task.summarize(out)
    assert list(told) == ["auc", "f1", "average_precision", "share"]
    p = np.asarray(jax.nn.softmax(LOGITS), np.float64)
    p /= p.sum(axis=1, keepdims=True)
    assert told["auc"] == pytest.approx(roc_auc_score(label, p, multi_class="ovr", sample_weight=weight), rel=1e-6)
    assert told["share"] == pytest.approx(np.average(LOGITS.argmax(1) == label, weights=weight))
    assert Classification().summarize(jax.device_get(Classification().predict(_apply, batch(label), KEY))) == {}


def test_a_weight_for_each_class():
    with pytest.raises(UserError, match="2 class_weights for 3 classes"):
        Classification(class_weights=(1.0, 2.0)).loss(_apply, batch([0] * 6), KEY)
